"""Charts of studies place values correctly, and settings look different."""

from __future__ import annotations

import pytest

from secseg.drawing.study_charts import place_values, setting_styles


@pytest.mark.parametrize(
    ("values", "places", "scale"),
    [
        (["sec", "seed"], [0, 1], "words"),
        (["4", "1", "2"], [1, 2, 4], "linear"),
        (["0.1", "1", "10"], [0.1, 1, 10], "log"),
        (["0", "0.9", "0.996", "1"], [0, 1, 2, 3], "even"),
        (["1", "null"], [0, 1], "words"),
        (["3"], [3], "linear"),
        (["1", "1.0"], [0, 1], "even"),
    ],
)
def test_numbers_are_placed_to_scale_unless_two_would_overlap(
    values: list[str], places: list[float], scale: str
) -> None:
    place, found = place_values(values)
    assert (list(place.values()), found) == (places, scale)


def test_twenty_four_settings_look_different() -> None:
    assert len(set(setting_styles(24))) == 24
