"""Charts of studies place values correctly, and settings look different."""

from __future__ import annotations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from secseg.drawing.study_charts import add_legend, place_values, setting_styles


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


def test_a_legend_of_long_names_lies_within_the_figure() -> None:
    figure = Figure(figsize=(4.6, 2.0), layout="constrained")
    figure.add_subplot().plot([0, 1])
    name = "loss=supervised, decay=large_objects, backbone=efficientnet_lite0, crf.test.bilateral_weight=10, W=MMM"
    add_legend(figure, [name, "short"], setting_styles(2))
    FigureCanvasAgg(figure).draw()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert figure.axes[0].get_window_extent().y0 >= box.y1
