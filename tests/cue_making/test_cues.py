"""Maps to cues against plain loops, and at the edges."""

from __future__ import annotations

import numpy as np
import pytest

from secseg.cue_making.cues import (
    CueSettings,
    background_cue,
    foreground_cues,
    join_cues,
    make_cue_map,
    refined_cues,
    sure_classes,
)
from secseg.data.classes import VOID
from secseg.data.cues.official import GRID, _paint
from secseg.utils.errors import UserError
from tests.reference import cues as reference


def random_maps(seed: int, shape: tuple[int, ...] = (4, 9, 7)) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_foreground_is_where_a_map_is_above_its_share_of_the_maximum(seed: int) -> None:
    maps = random_maps(seed)
    maps[1] -= 20  # nothing speaks for class 2
    for labels in ((1, 2, 4), (3,), ()):
        for threshold in (0.2, 0.7):
            cues = foreground_cues(maps, labels, threshold)
            assert np.array_equal(cues, reference.foreground(maps, labels, threshold))
            assert not cues[1].any()


@pytest.mark.parametrize(("share", "median"), [(0.1, 3), (0.3, 1), (0.1, 5), (0.0, 3)])
def test_background_is_the_least_salient_share(share: float, median: int) -> None:
    saliency = np.abs(random_maps(0, (11, 9)))
    assert np.array_equal(background_cue(saliency, share, median), reference.background(saliency, share, median))


def test_background_of_the_official_grid_has_168_locations_where_no_values_are_equal() -> None:
    saliency = np.random.default_rng(0).permutation(1681).reshape(41, 41)
    assert background_cue(saliency, median=1).sum() == 168


def test_smoothing_takes_a_single_low_value_for_noise() -> None:
    values = np.ones((9, 9))
    values[:, :3] = 0.5
    values[4, 7] = 0.0
    assert background_cue(values, 0.1, median=1)[4, 7]
    assert not background_cue(values, 0.1, median=1, smooth=1.0)[4, 7]


@pytest.mark.parametrize("conflict", ["smaller", "stronger"])
@pytest.mark.parametrize("seed", range(3))
def test_each_location_keeps_one_class(seed: int, conflict: str) -> None:
    maps = np.abs(random_maps(seed))
    maps[3] = maps[0]  # equal in every way: the smaller number wins
    foreground = foreground_cues(maps, (1, 2, 3, 4), 0.4)
    background = background_cue(random_maps(seed + 1, (9, 7)), 0.5)
    cues = join_cues(foreground, background, conflict, maps)
    assert np.array_equal(cues, reference.join(foreground, background, conflict, maps))
    assert cues.dtype == np.uint8
    assert not (cues == 4).any()
    assert {0, 1, VOID} <= set(np.unique(cues))


@pytest.mark.parametrize("seed", range(3))
def test_conflicts_are_decided_as_the_import_of_the_official_file_decides_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    foreground, background = rng.random((5, *GRID)) < 0.3, rng.random(GRID) < 0.5
    foreground[4] = np.roll(foreground[0], 1)  # of the same size
    classes, rows, columns = np.nonzero(np.concatenate([background[None], foreground]))
    painted, _ = _paint(1, np.zeros_like(classes), classes, rows, columns)
    assert np.array_equal(join_cues(foreground, background), painted[0])


def test_a_refined_cue_is_the_most_probable_class_above_the_threshold() -> None:
    probs = np.array([[0.6, 0.2, 0.34, 0.3], [0.1, 0.7, 0.33, 0.4], [0.3, 0.1, 0.33, 0.3]])[:, None]
    assert refined_cues(probs, probs[1:], (1,), 0.5)[:, 0].tolist() == [[False, True, False, False], [False] * 4]
    assert refined_cues(probs, probs[1:], (1,), 0.3)[:, 0].tolist() == [[False, True, False, True], [False] * 4]


@pytest.mark.parametrize(("least", "count"), [(0.0, 1), (0.05, 2), (0.1, 5)])
def test_a_class_that_refining_leaves_too_little_of_gets_where_its_map_is_highest(least: float, count: int) -> None:
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(3, 6, 9))
    probs = np.zeros((4, 6, 9))
    probs[0] = 1
    probs[:, 0, :6] = np.array([0, 1, 0, 0])[:, None]  # enough of the first class
    cues = refined_cues(probs, maps, (1, 2), 0.5, least)
    assert np.array_equal(cues[0], probs[1] == 1)
    free = sorted((value for value in maps[1][probs[1] == 0].tolist()), reverse=True)
    assert sorted(maps[1][cues[1]].tolist(), reverse=True) == free[:count]
    assert not cues[2].any(), "not a class that the image has not"


def test_a_class_that_the_classifier_does_not_see_has_no_cue_unless_it_is_the_most_probable() -> None:
    scores = np.array([2.0, -3.0, 800.0, -800.0])
    assert sure_classes(scores, (1, 2, 3), 0.0) == (1, 2, 3)
    assert sure_classes(scores, (1, 2, 3), 0.5) == (1, 3)
    assert sure_classes(scores, (2, 4), 0.5) == (2,)
    assert sure_classes(scores, (), 0.5) == ()
    maps = np.ones((4, 3, 3))
    cues = make_cue_map(maps, np.zeros((3, 3)), (2, 4), CueSettings(min_score=0.5), scores)
    assert set(np.unique(cues)) == {2}


def test_the_official_map_is_its_parts_joined() -> None:
    maps, saliency = random_maps(0), np.abs(random_maps(1, (9, 7)))
    expected = reference.join(reference.foreground(maps, (2, 3), 0.2), reference.background(saliency, 0.1, 3))
    assert np.array_equal(make_cue_map(maps, saliency, (2, 3), CueSettings()), expected)


def test_refined_maps_are_read_in_place_of_the_raw_ones() -> None:
    probs = np.random.default_rng(0).dirichlet(np.ones(3), (5, 6)).transpose(2, 0, 1)
    settings = CueSettings(refine=True, background="maps", share=0.2, median=1)
    maps, saliency = random_maps(0, (2, 5, 6)), random_maps(1, (5, 6))
    cues = make_cue_map(maps, saliency, (1, 2), settings, probs=probs)
    assert np.array_equal(cues == 1, probs[1] > 0.5)
    assert np.array_equal(cues == 0, background_cue(saliency, 0.2, 1) & ~refined_cues(probs, maps, (1, 2)).any(0))


@pytest.mark.parametrize("background", ["saliency", "maps"])
def test_an_image_without_labels_is_background_everywhere(background: str) -> None:
    cues = make_cue_map(random_maps(0), random_maps(1, (9, 7)), (), CueSettings(background=background))
    assert np.array_equal(cues, np.zeros((9, 7), np.uint8))


def test_maps_that_say_nothing_give_no_cue() -> None:
    for value in (0.0, -1.0):
        maps = np.full((2, 4, 4), value)
        for conflict in ("smaller", "stronger"):
            cues = make_cue_map(maps, np.ones((4, 4)), (1, 2), CueSettings(conflict=conflict))
            assert np.array_equal(cues, np.full((4, 4), VOID, np.uint8)), "a saliency without differences, too"


def test_settings_out_of_range_are_all_told() -> None:
    with pytest.raises(UserError) as told:
        CueSettings(threshold=1.0, median=2, conflict="small", background="map", share=True, smooth=-1)
    for text in ("cues.threshold=1.0", "cues.median=2", "cues.share=True", "cues.smooth=-1", "'smaller'", "'maps'"):
        assert text in str(told.value)
