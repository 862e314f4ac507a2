"""Held-out images, samples with image-level labels, balance."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from secseg.cue_making.data import LabelledImages, positive_weights, split_holdout
from secseg.cue_making.training import average_precision
from secseg.utils.errors import UserError
from tests.cue_making import toy
from tests.reference import localization as reference


def reordered(images: toy.ImageSet, order: list[int]) -> toy.ImageSet:
    names, paths = (tuple(values[number] for number in order) for values in (images.names, images.images))
    return dataclasses.replace(images, names=names, images=paths)


def test_held_out_images_depend_only_on_their_names(tmp_path: Path) -> None:
    images, _ = toy.draw(tmp_path)
    train, held = split_holdout(images, 0.1)
    assert len(held.names) == 3
    assert sorted(train.names + held.names) == sorted(images.names)
    assert [path.stem for path in train.images] == list(train.names)
    again = split_holdout(reordered(images, list(range(32))[::-1]), 0.1)
    assert set(again[1].names) == set(held.names)
    assert split_holdout(images, 0)[1].names == ()
    assert len(split_holdout(images, 0.001)[1].names) == 1


def test_held_out_images_can_be_named(tmp_path: Path) -> None:
    images, _ = toy.draw(tmp_path)
    _, held = split_holdout(images, ["image07", "image03"])
    assert held.names == ("image03", "image07")
    with pytest.raises(UserError, match=r"(?s)not in toy/train.*image99"):
        split_holdout(images, ["image99"])


@pytest.mark.parametrize("holdout", [1.0, -0.1, 0.99, [f"image{number:02}" for number in range(32)]])
def test_a_holdout_of_all_images_is_refused(tmp_path: Path, holdout: float | list[str]) -> None:
    images, _ = toy.draw(tmp_path)
    with pytest.raises(UserError, match="holdout"):
        split_holdout(images, holdout)


def test_samples_have_one_label_column_per_foreground_class_and_a_mirrored_image(tmp_path: Path) -> None:
    images, labels = toy.draw(tmp_path)
    data = LabelledImages(images, labels, 33)
    sample = data[6, False]
    assert (sample["name"], sample["labels"].tolist()) == ("image06", [0, 1, 1])
    assert data[0, False]["labels"].tolist() == [0, 0, 0]
    assert torch.equal(data[6, True]["image"], sample["image"].flip(-1))


def test_inverse_balance_gives_positives_and_negatives_of_a_class_the_same_weight() -> None:
    labels = torch.tensor([[1, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 1.0]])
    weights = positive_weights(labels, "inverse")
    assert weights is not None
    assert weights.tolist() == [3, 1, 0.25]
    assert positive_weights(labels, "none") is None
    scores = np.random.default_rng(0).normal(size=(4, 3))
    loss = F.binary_cross_entropy_with_logits(torch.from_numpy(scores), labels.double(), pos_weight=weights.double())
    assert float(loss) == pytest.approx(reference.logistic_loss(scores, labels.numpy(), weights.numpy()))


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_is_the_sum_of_precision_times_the_increase_of_recall(ties: bool) -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(scale=3, size=(50, 5)).round(0 if ties else 9)
    labels = (rng.random((50, 5)) < 0.3).astype(int)
    labels[:, 3], labels[:, 4] = 0, 1
    found = average_precision(torch.from_numpy(scores), torch.from_numpy(labels))
    wanted = [reference.average_precision(scores[:, c], labels[:, c]) for c in range(5)]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert math.isnan(found[3])
    assert math.isnan(found[4])  # any scores would have 1, and the training would end as perfect
