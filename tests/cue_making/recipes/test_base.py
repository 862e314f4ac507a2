"""The functions that recipes share, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from secseg.cue_making.recipes import CueRecipe, build_recipe
from secseg.cue_making.recipes.base import background_cue, foreground_cues, join_cues
from secseg.data.classes import VOID
from secseg.utils.errors import UserError
from tests.cue_making.recipes.toy import random_maps
from tests.reference import cues as reference


@pytest.mark.parametrize("seed", range(3))
def test_foreground_is_where_a_map_is_above_its_share_of_the_maximum(seed: int) -> None:
    maps = random_maps(seed)
    maps[1] -= 20  # nothing supports class 2
    for labels in ((1, 2, 4), (3,), ()):
        for threshold in (0.2, 0.7):
            cues = foreground_cues(maps, labels, threshold)
            assert np.array_equal(cues, reference.foreground(maps, labels, threshold))
            assert not cues[1].any()


@pytest.mark.parametrize(("share", "median"), [(0.1, 3), (0.3, 1), (0.1, 5), (0.0, 3)])
def test_background_is_the_least_salient_share(share: float, median: int) -> None:
    saliency = np.abs(random_maps(0, (11, 9)))
    assert np.array_equal(background_cue(saliency, share, median), reference.background(saliency, share, median))


def test_background_of_the_official_grid_has_168_cells_if_no_values_are_equal() -> None:
    saliency = np.random.default_rng(0).permutation(1681).reshape(41, 41)
    assert background_cue(saliency, median=1).sum() == 168


def test_smoothing_takes_a_single_low_value_for_noise() -> None:
    values = np.ones((9, 9))
    values[:, :3] = 0.5
    values[4, 7] = 0.0
    assert background_cue(values, 0.1, median=1)[4, 7]
    assert not background_cue(values, 0.1, median=1, smooth=1.0)[4, 7]


@pytest.mark.parametrize("seed", range(3))
def test_each_cell_keeps_the_class_with_the_smaller_region(seed: int) -> None:
    maps = np.abs(random_maps(seed))
    maps[3] = maps[0]  # equal in every way: the smaller number wins
    foreground = foreground_cues(maps, (1, 2, 3, 4), 0.4)
    background = background_cue(random_maps(seed + 1, (9, 7)), 0.5)
    cues = join_cues(foreground, background)
    assert np.array_equal(cues, reference.join(foreground, background))
    assert cues.dtype == np.uint8
    assert not (cues == 4).any()
    assert {0, 1, VOID} <= set(np.unique(cues))


def test_a_recipe_is_built_from_its_own_keys_of_the_node() -> None:
    node = {"_target_": "secseg.cue_making.recipes.official.OfficialCues", "threshold": 0.3}
    assert vars(build_recipe({**node, "scales": [1.0], "mirror": False, "grid": 41}))["threshold"] == 0.3
    with pytest.raises(UserError, match="is no CueRecipe"):
        build_recipe({"_target_": "secseg.cue_making.heads.ActivationMapHead"})
    assert CueRecipe.needs == ()
