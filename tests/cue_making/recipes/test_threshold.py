"""The recipe of two thresholds."""

from __future__ import annotations

import numpy as np
import pytest

from secseg.crf import CRFParams, build_crf
from secseg.cue_making.cue_file import on_maps
from secseg.cue_making.recipes.base import background_cue, log_odds, scaled_maps
from secseg.cue_making.recipes.official import OfficialCues
from secseg.cue_making.recipes.refined import RefinedCues, refine
from secseg.cue_making.recipes.threshold import ThresholdCues
from secseg.data.cues.map_files import label_maps
from secseg.data.transforms import crf_image, evaluation_input
from secseg.utils.errors import UserError
from tests.cue_making.recipes.toy import inputs, random_maps
from tests.reference import map_files as others
from tests.reference.crf import pixel_adaptive_refinement


@pytest.mark.parametrize("seed", range(5))
def test_cues_are_the_confident_pixels_of_irn(seed: int) -> None:
    maps = np.random.default_rng(seed).random((4, 9, 7)).astype(np.float32) ** 3
    expected = others.irn_labels({"keys": np.arange(4), "high_res": maps})
    assert {*np.unique(expected)} == {0, 1, 2, 3, 4, 255}
    assert np.array_equal(ThresholdCues()(inputs(maps, (1, 2, 3, 4), shares=True)), expected)


def test_cues_that_became_maps_become_the_same_cues() -> None:
    cues = np.random.default_rng(0).choice(np.array([0, 1, 3, 255], np.uint8), (9, 7))
    maps = np.zeros((4, 9, 7), np.float32)
    maps[[0, 2]] = label_maps(cues, (1, 3))
    assert np.array_equal(ThresholdCues()(inputs(maps, (1, 3), shares=True)), cues)


def test_of_equal_maps_the_smaller_region_wins() -> None:
    maps = np.zeros((2, 4, 4), np.float32)
    maps[0, :3], maps[1, 2:3] = 1, 1
    cues = ThresholdCues()(inputs(maps, (1, 2), shares=True))
    assert cues[:, 0].tolist() == [1, 1, 2, 0]


def test_saliency_of_the_files_decides_about_the_background() -> None:
    maps = np.zeros((1, 4, 4), np.float32)
    maps[0, 0] = 0.9
    saliency = np.linspace(1, 0, 16).reshape(4, 4).astype(np.float32)
    cues = ThresholdCues(background=0.3)(inputs(maps, (1,), shares=True, saliency=saliency))
    assert np.array_equal(cues == 0, saliency <= 0.3)
    assert (cues[0] == 1).all()


def test_maps_of_a_classifier_are_scaled_before() -> None:
    maps = 30 * random_maps(0)
    scaled = scaled_maps(maps)
    assert scaled.min() == 0
    np.testing.assert_array_equal(scaled.max((1, 2)), 1)
    expected = ThresholdCues()(inputs(scaled, (1, 2, 3, 4), shares=True))
    assert np.array_equal(ThresholdCues()(inputs(maps, (1, 2, 3, 4))), expected)
    assert np.array_equal(scaled_maps(np.full((2, 3, 3), -1.0)), np.zeros((2, 3, 3)))


def test_the_crf_gets_maps_of_other_programs_in_the_unit_of_scores() -> None:
    maps = np.random.default_rng(0).random((4, 9, 7)).astype(np.float32)
    got = []

    def crf(scores: np.ndarray, _: np.ndarray) -> np.ndarray:
        got.append(scores)
        return scores

    refine(inputs(maps, (2, 3), shares=True, crf=crf), background_score=-1)
    assert np.array_equal(got[0][0], np.full((9, 7), -1, np.float32))
    np.testing.assert_allclose(1 / (1 + np.exp(-got[0][1:])), np.clip(maps[1:3], 0.01, 0.99), rtol=1e-5)
    assert log_odds(np.array([0.0, 1.0])).tolist() == pytest.approx([-np.log(99), np.log(99)])


def soft(scores: np.ndarray, _: np.ndarray) -> np.ndarray:
    """A CRF without iterations."""
    return np.exp(scores) / np.exp(scores).sum(0)


@pytest.mark.parametrize("seed", range(3))
def test_refinement_without_an_iteration_leaves_the_two_thresholds(seed: int) -> None:
    maps = np.random.default_rng(seed).random((4, 9, 7)).astype(np.float32)
    maps[[0, 2]] = 0
    plain, refined = ThresholdCues(0.7, 0.25), ThresholdCues(0.7, 0.25, refine=True)
    given = inputs(maps, (2, 4), shares=True, crf=soft)
    assert np.array_equal(refined(given), plain(given))
    assert {*np.unique(plain(given))} == {0, 2, 4, 255}
    assert (plain.needs, refined.needs) == ((), ("crf",))


def test_cues_of_afa_are_maps_refined_by_par_with_two_values_of_the_background() -> None:
    maps = np.random.default_rng(0).random((3, 9, 7)).astype(np.float32) ** 0.5
    par = build_crf("par", CRFParams(bilateral_xy=10.0, iterations=3))
    given = inputs(maps, (1, 3), shares=True, crf=on_maps(par, 33))
    image = crf_image(evaluation_input(given.read_image(), 33)[None], (9, 7))[0].numpy()

    def most(background: float) -> np.ndarray:
        values = np.stack([np.full((9, 7), background), maps[0], maps[2]])
        refined = pixel_adaptive_refinement(np.log(values.clip(0.01)), image, [1, 2, 3], 3)
        return np.array([0, 1, 3])[refined.argmax(0)]

    cues = ThresholdCues(0.8, 0.7, refine=True)(given)
    expected = np.where(most(0.8) > 0, most(0.8), np.where(most(0.7) == 0, 0, 255))
    assert np.array_equal(cues, expected)
    assert {*np.unique(cues)} == {0, 1, 3, 255}


def test_maps_that_are_0_at_most_pixels_have_background_cues_in_each_recipe() -> None:
    maps = np.zeros((1, 41, 41), np.float32)
    maps[0, :9, :9] = 1
    given = inputs(maps, (1,), shares=True, crf=lambda scores, _: np.exp(scores) / np.exp(scores).sum(0))
    for recipe in (OfficialCues(background="maps"), RefinedCues(), ThresholdCues()):
        cues = recipe(given)
        assert (cues[30:, 30:] == 0).all()
        assert (cues[2:6, 2:6] == 1).all()
    assert not background_cue(maps[0]).any(), "by the rank alone"


def test_all_settings_out_of_range_are_listed() -> None:
    with pytest.raises(UserError) as raised:
        ThresholdCues(threshold=1.0, background=-0.1, refine="yes")
    assert "cues.threshold=1.0" in str(raised.value)
    assert "cues.background=-0.1" in str(raised.value)
    assert "cues.refine=yes" in str(raised.value)
