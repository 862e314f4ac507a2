"""The cache of a frozen trunk's features."""

from __future__ import annotations

import re
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from secseg.data.images import read_image
from secseg.data.transforms import training_input
from secseg.training.feature_cache import FeatureCache
from secseg.utils.errors import UserError


class Trunk:
    """A trunk with two feature levels in which left and right differ; counts its images."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, images: Tensor) -> list[Tensor]:
        self.seen += len(images)
        x = images.float()
        return [x[:, :, ::4, ::4] / 7, x[:, :1, ::8, ::8] * torch.arange(5)]


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(path)
    return paths


def cache(folder: Path, key: str = "k", mirror: bool = True) -> FeatureCache:
    return FeatureCache(folder, key, 33, "opencv", mirror)


def test_it_returns_the_features_of_an_image_and_of_its_mirror_image(tmp_path: Path, images: list[Path]) -> None:
    store = cache(tmp_path / "cache")
    store.prepare(images, Trunk())
    for path in images:
        image = training_input(read_image(path), 33)
        for mirrored in (False, True):
            expected = Trunk()((image.flip(-1) if mirrored else image)[None])
            assert torch.equal(store.read_input(path), image)
            for got, level in zip(store.read(path, mirrored), expected, strict=True):
                torch.testing.assert_close(got, level[0].half())


def test_a_later_run_computes_only_missing_features(tmp_path: Path, images: list[Path]) -> None:
    cache(tmp_path / "cache").prepare(images[:3], Trunk())
    trunk = Trunk()
    cache(tmp_path / "cache").prepare(images, trunk)
    assert trunk.seen == 2 * 2 + 2 * 2  # two images, each mirrored, too, and one twice to measure size and time
    cache(tmp_path / "cache").prepare(images, trunk)
    assert trunk.seen == 8


def test_other_weights_or_another_image_content_get_new_files(tmp_path: Path, images: list[Path]) -> None:
    cache(tmp_path / "cache").prepare(images, Trunk())
    trunk = Trunk()
    cache(tmp_path / "cache", key="other weights").prepare(images, trunk)
    assert trunk.seen > 10
    Image.new("RGB", (30, 20), (9, 9, 9)).save(images[0])
    trunk = Trunk()
    cache(tmp_path / "cache").prepare(images, trunk)
    assert trunk.seen == 6


def test_a_cache_that_is_too_large_for_the_disk_is_refused(tmp_path: Path, images: list[Path], monkeypatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("secseg.utils.files.shutil.disk_usage", lambda _: usage(10, 9, 1000))
    with pytest.raises(UserError, match=r"data\.feature_cache"):
        cache(tmp_path / "cache").prepare(images, Trunk())
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_its_size_and_its_time_are_logged_before_it_is_written(tmp_path: Path, images: list[Path], caplog) -> None:
    store = cache(tmp_path / "cache", mirror=False)
    with caplog.at_level("INFO"):
        store.prepare(images, Trunk())
    assert re.search(r"features of 5 images take about 0:00:0\d and 19\.\d kB in .* \(\S+ [GT]B of free", caplog.text)


def test_a_damaged_file_is_reported_with_its_path(tmp_path: Path, images: list[Path]) -> None:
    store = cache(tmp_path / "cache")
    store.prepare(images, Trunk())
    for path in (tmp_path / "cache").rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match="Delete"):
        store.read(images[0])
