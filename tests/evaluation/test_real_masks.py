"""Metrics of real masks equal their definitions and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from secseg.data.classes import VOC_CLASSES
from secseg.evaluation import Evaluation
from secseg.evaluation.metrics import SegmentationScore
from tests.evaluation import random_pair
from tests.reference import scores as reference

Pairs = dict[str, tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def score(real_pairs: Pairs) -> SegmentationScore:
    score = SegmentationScore(VOC_CLASSES)
    for prediction, target in real_pairs.values():
        score.update(prediction, target)
    return score


def test_masks_scored_against_themselves_give_exactly_one(real_masks: dict[str, np.ndarray]) -> None:
    score = SegmentationScore(VOC_CLASSES)
    for mask in real_masks.values():
        score.update(np.where(mask == 255, 7, mask), mask)
    result = score.compute()
    assert result["miou"] == result["pixel_accuracy"] == 1
    assert {iou for iou in result["iou"].values() if not np.isnan(iou)} == {1}
    assert {bias for bias in score.size_bias().values() if not np.isnan(bias)} == {1}


def test_near_boundaries_and_for_each_image_they_give_exactly_one_too(real_masks: dict[str, np.ndarray]) -> None:
    evaluation = Evaluation(VOC_CLASSES)
    for name, mask in real_masks.items():
        small = mask[::4, ::4]
        evaluation.update(name, np.where(small == 255, 7, small), small)
    boundary = evaluation.compute()["boundary"]
    assert boundary["miou"] == [1] * 7
    assert boundary["images"] == {"void": 186, "class": 0, "none": 0}
    assert set(evaluation.images.values()) == {1}


def test_iou_is_that_of_the_definition(real_pairs: Pairs, score: SegmentationScore) -> None:
    by_definition = reference.class_iou(*separate(real_pairs), 21)
    result = score.compute()
    np.testing.assert_allclose(list(result["iou"].values()), by_definition, rtol=0, atol=1e-9)
    assert result["miou"] == pytest.approx(reference.mean(by_definition), abs=1e-9)
    assert 0.05 < result["miou"] < 0.5, "the masks are too wrong or too right to tell anything"


def test_size_bias_is_that_of_the_definition(real_pairs: Pairs, score: SegmentationScore) -> None:
    by_definition = reference.size_bias(*separate(real_pairs), 21)
    np.testing.assert_allclose(list(score.size_bias().values()), by_definition, rtol=0, atol=1e-9)


def test_iou_is_scikit_learns_jaccard_score_on_random_masks() -> None:
    compare_with_scikit_learn({str(seed): random_pair(seed, classes=6) for seed in range(5)})


def test_iou_is_scikit_learns_jaccard_score_on_real_masks(real_pairs: Pairs) -> None:
    compare_with_scikit_learn({name: (p[::5, ::5], t[::5, ::5]) for name, (p, t) in real_pairs.items()})


def compare_with_scikit_learn(pairs: Pairs) -> None:
    jaccard_score = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn, of the extra dev").jaccard_score
    score = SegmentationScore(VOC_CLASSES)
    for prediction, target in pairs.values():
        score.update(prediction, target)
    predictions, targets = (np.concatenate([mask.reshape(-1) for mask in masks]) for masks in separate(pairs))
    predictions, targets = predictions[targets != 255], targets[targets != 255]
    present = np.union1d(targets, predictions)
    theirs = jaccard_score(targets, predictions, labels=present, average=None)
    result = score.compute()
    ours = np.array(list(result["iou"].values()))
    np.testing.assert_allclose(ours[present], theirs, rtol=0, atol=1e-9)
    assert np.isnan(np.delete(ours, present)).all()
    assert result["miou"] == pytest.approx(theirs.mean(), abs=1e-9)


def separate(pairs: Pairs) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Predictions and targets."""
    return [prediction for prediction, _ in pairs.values()], [target for _, target in pairs.values()]
