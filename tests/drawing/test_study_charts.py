"""Charts of studies place values where they belong, and settings can be told apart."""

from __future__ import annotations

import pytest

from secseg.drawing.study_charts import place_values, styles


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
def test_numbers_lie_at_their_place_unless_they_would_lie_on_each_other(
    values: list[str], places: list[float], scale: str
) -> None:
    place, found = place_values(values)
    assert (list(place.values()), found) == (places, scale)


def test_sixteen_settings_can_be_told_apart() -> None:
    assert len(set(styles(24))) == 24
