"""Maps on disk: what is kept of an image, and where it comes from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from secseg.cue_making.classifier import LocalizationNet, build_localization_net
from secseg.cue_making.map_files import read_maps, write_maps
from secseg.cue_making.maps import class_maps, saliency_map
from secseg.data.images import read_image
from secseg.data.labels import Labels
from secseg.data.splits import ImageSet
from secseg.data.transforms import training_input
from secseg.training.feature_cache import FeatureCache
from secseg.utils.errors import UserError
from tests.cue_making.toy import CLASSES, NETWORK, draw

NAME, LABELS = "image05", (1, 3)
GRID = (9, 9)


@pytest.fixture(scope="module")
def network() -> LocalizationNet:
    torch.manual_seed(0)
    return build_localization_net(NETWORK, CLASSES[1:]).eval()


@pytest.fixture
def data(tmp_path: Path) -> tuple[ImageSet, Labels]:
    return draw(tmp_path / "images", 6)


def test_maps_of_the_images_classes_are_kept_with_their_pooled_scores(
    network: LocalizationNet, data: tuple[ImageSet, Labels], tmp_path: Path
) -> None:
    images, labels = data
    write_maps(tmp_path / "maps", images, labels, network, None, grid=GRID)
    maps, scores, _ = read_maps(tmp_path / "maps", NAME, LABELS, 3)
    wanted = class_maps(network, read_image(images.images[5]), grid=GRID).numpy()
    np.testing.assert_allclose(maps[[0, 2]], wanted[[0, 2]], atol=1e-3)
    np.testing.assert_allclose(scores[[0, 2]], wanted[[0, 2]].mean((1, 2)), atol=1e-3)
    assert not maps[1].any()


def test_what_tells_the_background_is_the_highest_map_of_all_classes_or_the_second_networks_saliency(
    network: LocalizationNet, data: tuple[ImageSet, Labels], tmp_path: Path
) -> None:
    images, labels = data
    photo = read_image(images.images[5])
    for background in (None, network):
        folder = tmp_path / f"maps {background is None}"
        write_maps(folder, images, labels, network, background, grid=GRID)
        if background is None:
            wanted = class_maps(network, photo, grid=GRID).amax(0)
        else:
            wanted = saliency_map(network, photo, grid=GRID)
        np.testing.assert_allclose(read_maps(folder, NAME, LABELS, 3)[2], wanted, rtol=2e-3, atol=1e-3)


def test_kept_features_serve_the_pass_at_scale_1(
    network: LocalizationNet, data: tuple[ImageSet, Labels], tmp_path: Path
) -> None:
    images, labels = data
    cache = FeatureCache(tmp_path / "features", "toy", 65, "train", mirror=True)
    with torch.no_grad():
        cache.prepare(images.images, network.features)
    write_maps(tmp_path / "maps", images, labels, network, None, mirror=True, grid=GRID, cache=cache)
    image = training_input(read_image(images.images[5]), 65)[None]
    with torch.no_grad():
        wanted = (network.activation_maps(image) + network.activation_maps(image.flip(-1)).flip(-1))[0] / 2
    maps, _, _ = read_maps(tmp_path / "maps", NAME, LABELS, 3)
    np.testing.assert_allclose(maps[[0, 2]], wanted[[0, 2]], rtol=1e-2, atol=2e-3)


def test_a_damaged_file_is_told(network: LocalizationNet, data: tuple[ImageSet, Labels], tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / f"{NAME}.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(UserError, match="run stage=maps again"):
        read_maps(tmp_path / "maps", NAME, LABELS, 3)
