"""Samples of training and evaluation, with and without cached features."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from secseg.data.images import read_image
from secseg.data.samples import EvaluationImages, TrainingImages, gather
from secseg.data.shapes_module import ShapesDataModule
from secseg.data.transforms import crf_image, training_input
from secseg.training.feature_cache import FeatureCache

SIZE, GRID = 65, (9, 12)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> ShapesDataModule:
    module = ShapesDataModule(str(tmp_path_factory.mktemp("data") / "shapes"), draw_train=3, draw_val=1)
    module.open(cues=True, masks=False)
    return module


@pytest.fixture
def cache(opened: ShapesDataModule, tmp_path: Path) -> FeatureCache:
    cache = FeatureCache(tmp_path, "means", SIZE, "opencv", mirror=True)
    cache.prepare(opened.train_images.images, lambda images: [images.float()[:, :, ::8, ::8]])
    return cache


@pytest.mark.parametrize("mirrored", [False, True])
def test_cached_features_replace_the_image_and_change_nothing_else(
    opened: ShapesDataModule, cache: FeatureCache, mirrored: bool
) -> None:
    plain = TrainingImages(opened.train_images, opened.cues, SIZE, GRID)
    cached = TrainingImages(opened.train_images, opened.cues, SIZE, GRID, cache)
    batches = [gather([data[number, mirrored] for number in range(3)]) for data in (plain, cached)]
    assert set(batches[0]) - {"image"} == set(batches[1]) - {"features"}
    for key in ("crf_image", "cues", "labels"):
        assert torch.equal(batches[0][key], batches[1][key]), key
    torch.testing.assert_close(batches[1]["features"][0], batches[0]["image"][:, :, ::8, ::8].half())
    evaluated = EvaluationImages(opened.train_images, SIZE, cache)[0]
    assert "image" not in evaluated
    assert evaluated["features"][0].shape == (3, 9, 9)


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_crf_sees_the_networks_input_on_the_grid_of_the_mask(opened: ShapesDataModule, mirrored: bool) -> None:
    sample = TrainingImages(opened.train_images, opened.cues, SIZE, GRID)[1, mirrored]
    image = training_input(read_image(opened.train_images.images[1]), SIZE)
    assert torch.equal(sample["image"], image.flip(-1) if mirrored else image)
    assert torch.equal(sample["crf_image"], crf_image(sample["image"][None], GRID)[0])
