"""The recipe that refines maps with the CRF."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from secseg.crf import CRFParams, build_crf
from secseg.cue_making.cue_file import on_maps
from secseg.cue_making.recipes.base import background_cue
from secseg.cue_making.recipes.refined import RefinedCues, refine, refined_cues, seen_classes
from secseg.data.transforms import crf_image, evaluation_input
from secseg.utils.errors import UserError
from tests.cue_making.recipes.toy import inputs, random_maps
from tests.reference.crf import mean_field

CRF = on_maps(build_crf("exact", CRFParams().scaled(12)), 33)


def two_halves(size: int = 33) -> np.ndarray:
    image = np.full((size, size, 3), 20, np.uint8)
    image[:, size // 2 :] = 220
    return image


def test_probabilities_are_the_mean_field_of_the_maps_and_a_constant_background() -> None:
    maps = random_maps(0, (4, 9, 9))
    given = inputs(maps, (1, 3), crf=CRF)
    probs = refine(given, background_score=0.7)
    scores = np.stack([np.full((9, 9), 0.7), maps[0], maps[2]])
    image = crf_image(evaluation_input(given.read_image(), 33)[None], (9, 9))[0].numpy()
    expected = mean_field(scores, image, **asdict(CRFParams().scaled(12)))
    assert np.allclose(probs[[0, 1, 3]], expected, atol=1e-5)
    assert not probs[[2, 4]].any()


def test_a_region_on_one_side_of_an_edge_grows_to_the_edge_and_not_beyond() -> None:
    maps = np.full((1, 9, 9), -0.2, np.float32)
    maps[0, 2:6, 0:3] = 3.0
    probs = refine(inputs(maps, (1,), crf=CRF, read_image=two_halves))
    assert (probs[1, :, 5:] < 0.5).all()
    assert (probs[1, :, :4] > 0.5).sum() > 12, "more than the blob"


def test_a_cue_is_the_most_probable_class_above_the_threshold() -> None:
    probs = np.array([[0.6, 0.2, 0.34, 0.3], [0.1, 0.7, 0.33, 0.4], [0.3, 0.1, 0.33, 0.3]])[:, None]
    assert refined_cues(probs, probs[1:], (1,), 0.5)[:, 0].tolist() == [[False, True, False, False], [False] * 4]
    assert refined_cues(probs, probs[1:], (1,), 0.3)[:, 0].tolist() == [[False, True, False, True], [False] * 4]


@pytest.mark.parametrize(("least", "count"), [(0.0, 1), (0.05, 2), (0.1, 5)])
def test_a_class_with_too_few_cells_gets_those_where_its_map_is_highest(least: float, count: int) -> None:
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(3, 6, 9))
    probs = np.zeros((4, 6, 9))
    probs[0] = 1
    probs[:, 0, :6] = np.array([0, 1, 0, 0])[:, None]  # enough of the first class
    cues = refined_cues(probs, maps, (1, 2), 0.5, least)
    assert np.array_equal(cues[0], probs[1] == 1)
    free = sorted((value for value in maps[1][probs[1] == 0].tolist()), reverse=True)
    assert sorted(maps[1][cues[1]].tolist(), reverse=True) == free[:count]
    assert not cues[2].any(), "not a class that the image does not have"


def test_a_class_that_the_classifier_does_not_recognise_has_no_cue_unless_it_is_the_most_probable() -> None:
    scores = np.array([2.0, -3.0, 800.0, -800.0])
    assert seen_classes(scores, (1, 2, 3), 0.0) == (1, 2, 3)
    assert seen_classes(scores, (1, 2, 3), 0.5) == (1, 3)
    assert seen_classes(scores, (2, 4), 0.5) == (2,)
    maps = np.array([0, 4, 0, 1], np.float32)[:, None, None].repeat(3, 1).repeat(3, 2)
    given = inputs(maps, (2, 4), scores=scores, crf=CRF)
    assert set(np.unique(RefinedCues(background_score=-9, least=0.2)(given))) == {2, 4}
    assert set(np.unique(RefinedCues(background_score=-9, least=0.2, min_score=0.5)(given))) == {2}


def test_cues_are_those_of_the_refined_maps_and_the_background_that_of_the_highest_map() -> None:
    maps = random_maps(0, (2, 9, 9))
    given = inputs(maps, (1, 2), crf=CRF)
    cues = RefinedCues(background_score=0, least=0, share=0.2, smooth=0)(given)
    probs = refine(given)
    assert np.array_equal(cues == 1, (probs[1] > 0.5) & (probs.argmax(0) == 1))
    assert np.array_equal(cues == 0, background_cue(maps.max(0), 0.2, 1) & ~refined_cues(probs, maps, (1, 2)).any(0))


def test_all_settings_out_of_range_are_listed() -> None:
    with pytest.raises(UserError) as raised:
        RefinedCues(threshold=1.0, least=-1, share=True, smooth=-1, min_score=2)
    for key in ("threshold=1.0", "least=-1", "share=True", "smooth=-1", "min_score=2"):
        assert f"cues.{key}" in str(raised.value)
