"""Maps of an image over scales and mirror images, and their files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from secseg.cue_making.classifier import LocalizationNet, build_localization_net
from secseg.cue_making.maps import MapSettings, class_maps, read_maps, saliency_map, write_maps
from secseg.data.images import read_image
from secseg.data.labels import Labels
from secseg.data.splits import ImageSet
from secseg.data.transforms import evaluation_input, training_input
from secseg.training.feature_cache import FeatureCache
from secseg.utils.errors import UserError
from secseg.utils.resizing import resize_aligned
from tests.cue_making.toy import CLASSES, NETWORK, draw

NAME, LABELS = "image05", (1, 3)
SMALL = MapSettings(grid=(9, 9))


@pytest.fixture(scope="module")
def network() -> LocalizationNet:
    torch.manual_seed(0)
    return build_localization_net(NETWORK, CLASSES[1:]).eval()


@pytest.fixture
def data(tmp_path: Path) -> tuple[ImageSet, Labels]:
    return draw(tmp_path / "images", 6)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 70, 3), dtype=np.uint8)


def one(network: LocalizationNet, pixels: np.ndarray, side: int, mirrored: bool = False) -> tuple[Tensor, Tensor]:
    image = evaluation_input(pixels, side)[None]
    image = image.flip(-1) if mirrored else image
    maps, saliency = network.activation_maps(image).detach(), network.saliency(image)[:, None]
    both = [x.flip(-1) if mirrored else x for x in (maps, saliency / saliency.mean())]
    return resize_aligned(both[0], (41, 41))[0], resize_aligned(both[1], (41, 41))[0, 0]


def test_one_pass_is_the_networks_own_map_on_the_grid(network: LocalizationNet, pixels: np.ndarray) -> None:
    found = class_maps(network, pixels, SMALL)
    assert found.dtype == torch.float32
    wanted = network.activation_maps(evaluation_input(pixels, 65)[None])[0].detach()
    assert torch.equal(found, wanted)


def test_maps_are_the_mean_over_scales_and_mirror_images(network: LocalizationNet, pixels: np.ndarray) -> None:
    passes = [one(network, pixels, side, mirrored) for side in (33, 65, 97) for mirrored in (False, True)]
    settings = MapSettings((0.5, 1.0, 1.5), mirror=True)
    torch.testing.assert_close(class_maps(network, pixels, settings), torch.stack([maps for maps, _ in passes]).mean(0))
    wanted = torch.stack([saliency for _, saliency in passes]).mean(0)
    torch.testing.assert_close(saliency_map(network, pixels, settings), wanted, rtol=1e-4, atol=1e-5)


def test_maps_of_the_mirror_image_are_mirrored(network: LocalizationNet, pixels: np.ndarray) -> None:
    there = class_maps(network, pixels, MapSettings(mirror=True))
    back = class_maps(network, np.ascontiguousarray(pixels[:, ::-1]), MapSettings(mirror=True))
    torch.testing.assert_close(back.flip(-1), there, rtol=1e-3, atol=1e-5)


def test_scales_have_the_same_weight_in_saliency_whatever_the_size_of_gradients(
    network: LocalizationNet, pixels: np.ndarray
) -> None:
    for scale in (0.5, 1.0, 2.0):
        settings = MapSettings((scale,), grid=(65, 65))
        assert float(saliency_map(network, pixels, settings).mean()) == pytest.approx(1, abs=0.1)


def test_saliency_of_a_network_with_zero_gradient_is_zero_not_nan(pixels: np.ndarray) -> None:
    network = build_localization_net(NETWORK, ("cat",)).eval()
    torch.nn.init.zeros_(network.head.classifier.weight)
    assert not saliency_map(network, pixels, MapSettings()).any()


def test_given_features_give_the_same_maps(network: LocalizationNet, pixels: np.ndarray) -> None:
    image = evaluation_input(pixels, network.input_size)[None]
    features = [[level[0] for level in network.features(one)] for one in (image, image.flip(-1))]
    for scales in ((1.0,), (0.5, 1.0)):
        wanted = class_maps(network, pixels, MapSettings(scales, True))
        found = class_maps(network, pixels, MapSettings(scales, True), features)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    other = [[torch.zeros_like(level) for level in levels] for levels in features]
    assert not torch.allclose(class_maps(network, pixels, MapSettings(mirror=True), other), wanted)


def test_maps_of_the_images_classes_are_kept_with_their_pooled_scores(
    network: LocalizationNet, data: tuple[ImageSet, Labels], tmp_path: Path
) -> None:
    images, labels = data
    write_maps(tmp_path / "maps", images, labels, [network], SMALL)
    kept = read_maps(tmp_path / "maps", NAME, LABELS, 3)
    wanted = class_maps(network, read_image(images.images[5]), SMALL).numpy()
    np.testing.assert_allclose(kept.maps[[0, 2]], wanted[[0, 2]], atol=1e-3)
    np.testing.assert_allclose(kept.scores[[0, 2]], wanted[[0, 2]].mean((1, 2)), atol=1e-3)
    np.testing.assert_allclose(kept.highest, wanted.max(0), rtol=2e-3, atol=1e-3)
    assert not kept.maps[1].any()
    assert kept.saliency is None


def test_saliency_is_kept_if_there_is_a_second_network(
    network: LocalizationNet, data: tuple[ImageSet, Labels], tmp_path: Path
) -> None:
    images, labels = data
    write_maps(tmp_path / "maps", images, labels, [network, network], SMALL)
    wanted = saliency_map(network, read_image(images.images[5]), SMALL)
    found = read_maps(tmp_path / "maps", NAME, LABELS, 3).saliency
    assert found is not None
    np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=1e-3)


def test_cached_features_are_used_in_the_pass_at_scale_1(
    network: LocalizationNet, data: tuple[ImageSet, Labels], tmp_path: Path
) -> None:
    images, labels = data
    cache = FeatureCache(tmp_path / "features", "toy", 65, "opencv", mirror=True)
    with torch.no_grad():
        cache.prepare(images.images, network.features)
    settings = MapSettings(mirror=True, grid=(9, 9))
    write_maps(tmp_path / "maps", images, labels, [network], settings, cache=cache)
    image = training_input(read_image(images.images[5]), 65)[None]
    with torch.no_grad():
        wanted = (network.activation_maps(image) + network.activation_maps(image.flip(-1)).flip(-1))[0] / 2
    maps = read_maps(tmp_path / "maps", NAME, LABELS, 3).maps
    np.testing.assert_allclose(maps[[0, 2]], wanted[[0, 2]], rtol=1e-2, atol=2e-3)


def test_a_damaged_file_is_reported(network: LocalizationNet, data: tuple[ImageSet, Labels], tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / f"{NAME}.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(UserError, match="Delete the file and run the command again"):
        read_maps(tmp_path / "maps", NAME, LABELS, 3)
