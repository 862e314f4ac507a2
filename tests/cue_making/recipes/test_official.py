"""The recipe of the paper."""

from __future__ import annotations

import numpy as np
import pytest

from secseg.cue_making.recipes.official import OfficialCues
from secseg.data.classes import VOID
from secseg.utils.errors import UserError
from tests.cue_making.recipes.toy import inputs, random_maps
from tests.reference import cues as reference


def test_cues_are_maps_above_a_fifth_and_the_least_salient_tenth() -> None:
    maps, saliency = random_maps(0), np.abs(random_maps(1, (9, 7)))
    expected = reference.join(reference.foreground(maps, (2, 3), 0.2), reference.background(saliency, 0.1, 3))
    assert np.array_equal(OfficialCues()(inputs(maps, (2, 3), saliency=saliency)), expected)


def test_background_can_be_where_the_highest_map_is_lowest() -> None:
    maps = random_maps(0)
    expected = reference.join(reference.foreground(maps, (2, 3), 0.2), reference.background(maps.max(0), 0.1, 3))
    recipe = OfficialCues(background="maps")
    assert np.array_equal(recipe(inputs(maps, (2, 3))), expected)
    assert (recipe.needs, OfficialCues().needs) == ((), ("saliency",))


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_maps_without_a_positive_value_and_a_constant_saliency_give_no_cue(value: float) -> None:
    cues = OfficialCues()(inputs(np.full((2, 4, 4), value), (1, 2), saliency=np.ones((4, 4))))
    assert np.array_equal(cues, np.full((4, 4), VOID, np.uint8))


def test_all_settings_out_of_range_are_listed() -> None:
    with pytest.raises(UserError) as raised:
        OfficialCues(threshold=1.0, median=2, background="map", share=True)
    for text in ("cues.threshold=1.0", "cues.median=2", "cues.share=True", "'maps'"):
        assert text in str(raised.value)
