"""Maps of a photograph over scales and mirror images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from secseg.cue_making.classifier import LocalizationNet, build_localization_net
from secseg.cue_making.maps import class_maps, saliency_map
from secseg.data.transforms import evaluation_input
from secseg.utils.errors import UserError
from secseg.utils.resizing import resize_aligned
from tests.cue_making.toy import NETWORK


@pytest.fixture(scope="module")
def network() -> LocalizationNet:
    torch.manual_seed(0)
    return build_localization_net(NETWORK, ("cat", "dog")).eval()


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 70, 3), dtype=np.uint8)


def one(network: LocalizationNet, photo: np.ndarray, side: int, mirrored: bool = False) -> tuple[Tensor, Tensor]:
    image = evaluation_input(photo, side)[None]
    image = image.flip(-1) if mirrored else image
    maps, saliency = network.activation_maps(image).detach(), network.saliency(image)[:, None]
    both = [x.flip(-1) if mirrored else x for x in (maps, saliency / saliency.mean())]
    return resize_aligned(both[0], (41, 41))[0], resize_aligned(both[1], (41, 41))[0, 0]


def test_one_pass_is_the_networks_own_map_on_the_grid(network: LocalizationNet, photo: np.ndarray) -> None:
    found = class_maps(network, photo, grid=(9, 9))
    assert found.dtype == torch.float32
    wanted = network.activation_maps(evaluation_input(photo, 65)[None])[0].detach()
    assert torch.equal(found, wanted)


def test_maps_are_the_mean_over_scales_and_mirror_images(network: LocalizationNet, photo: np.ndarray) -> None:
    passes = [one(network, photo, side, mirrored) for side in (33, 65, 97) for mirrored in (False, True)]
    options = {"scales": (0.5, 1.0, 1.5), "mirror": True}
    torch.testing.assert_close(class_maps(network, photo, **options), torch.stack([maps for maps, _ in passes]).mean(0))
    wanted = torch.stack([saliency for _, saliency in passes]).mean(0)
    torch.testing.assert_close(saliency_map(network, photo, **options), wanted, rtol=1e-4, atol=1e-5)


def test_maps_of_the_mirror_image_are_mirrored(network: LocalizationNet, photo: np.ndarray) -> None:
    there = class_maps(network, photo, mirror=True)
    back = class_maps(network, np.ascontiguousarray(photo[:, ::-1]), mirror=True)
    torch.testing.assert_close(back.flip(-1), there, rtol=1e-3, atol=1e-5)


def test_scales_weigh_the_same_in_saliency_whatever_their_gradients_size(
    network: LocalizationNet, photo: np.ndarray
) -> None:
    for scale in (0.5, 1.0, 2.0):
        assert float(saliency_map(network, photo, (scale,), grid=(65, 65)).mean()) == pytest.approx(1, abs=0.1)


def test_saliency_of_a_network_that_looks_at_nothing_is_zero_not_nan(photo: np.ndarray) -> None:
    network = build_localization_net(NETWORK, ("cat",)).eval()
    torch.nn.init.zeros_(network.head.classifier.weight)
    assert not saliency_map(network, photo).any()


def test_features_that_are_known_give_the_same_maps(network: LocalizationNet, photo: np.ndarray) -> None:
    image = evaluation_input(photo, network.input_size)[None]
    features = [[level[0] for level in network.features(one)] for one in (image, image.flip(-1))]
    for scales in ((1.0,), (0.5, 1.0)):
        wanted = class_maps(network, photo, scales, mirror=True)
        found = class_maps(network, photo, scales, mirror=True, features=features)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    other = [[torch.zeros_like(level) for level in levels] for levels in features]
    assert not torch.allclose(class_maps(network, photo, mirror=True, features=other), wanted)


@pytest.mark.parametrize("scales", [(), (0.0,), (1.0, 11.0)])
def test_scales_out_of_range_are_refused(
    network: LocalizationNet, photo: np.ndarray, scales: tuple[float, ...]
) -> None:
    for maps in (class_maps, saliency_map):
        with pytest.raises(UserError, match=r"between 0\.1 and 10"):
            maps(network, photo, scales)
