"""What the meter says of the time that images take."""

from __future__ import annotations

import pytest

from secseg.utils.progress import STAGES, ImageMeter, Stopwatch


def test_lines_tell_the_speed_and_the_limiting_stage_first(capsys: pytest.CaptureFixture[str]) -> None:
    with ImageMeter("evaluate", 2) as meter:
        meter.update({"reading": 0.001, "network": 1.0, "CRF": 2.0})
        meter.update({"network": 1.0, "CRF": 4.0})
    line = capsys.readouterr().out.strip()
    assert line.startswith("image 2/2  ")
    assert "images/s  ETA 0:00:00  CRF 75 %, network 25 %" in line
    assert "reading" not in line, "below a percent"


def test_the_time_of_the_results_has_the_same_keys_with_and_without_stages() -> None:
    with ImageMeter("predict", 1) as meter:
        meter.update({"network": 3.0, "output": 1.0})
    time = meter.time()
    assert time.keys() == {"seconds", "images_per_second", "shares"}
    assert time["shares"] == {"reading": 0, "network": 0.75, "CRF": 0, "output": 0.25}
    assert tuple(time["shares"]) == STAGES
    with ImageMeter("predict", 0) as idle:
        pass
    assert idle.time().keys() == time.keys()
    assert idle.time()["images_per_second"] == 0


def test_a_stage_that_is_met_twice_adds_up() -> None:
    watch = Stopwatch()
    for _ in range(2):
        with watch("reading"):
            pass
    first = watch.seconds["reading"]
    with watch("reading"):
        pass
    assert watch.seconds["reading"] > first
