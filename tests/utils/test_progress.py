"""Progress is shown as bars in a terminal and as plain lines elsewhere, with the time that each stage takes."""

from __future__ import annotations

import logging
import multiprocessing

import pytest

from secseg.utils import progress
from secseg.utils.console import PrintHandler
from secseg.utils.progress import STAGES, Bar, ImageMeter, Stopwatch


def use_terminal(monkeypatch: pytest.MonkeyPatch, term: str = "xterm") -> None:
    """Not a fixture: pytest replaces ``sys.stdout`` between fixtures and test."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(progress, "REFRESH_SECONDS", 0)


def test_lines_show_the_speed_and_the_slowest_stage_first(capsys: pytest.CaptureFixture[str]) -> None:
    with ImageMeter("evaluate", 2) as meter:
        meter.update({"reading": 0.001, "network": 1.0, "CRF": 2.0})
        meter.update({"network": 1.0, "CRF": 4.0})
    line = capsys.readouterr().out.strip()
    assert line.startswith("evaluate: image 2/2 (100 %)  ")
    assert line.endswith(" images/s  CRF 75 %, network 25 %  ETA 0:00:00")
    assert "reading" not in line, "below a percent"


def test_a_line_is_printed_after_every_seconds_and_at_the_end_and_its_text_is_made_only_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, made = [0.0], []
    monkeypatch.setattr("secseg.utils.progress.time.monotonic", lambda: clock[0])
    with Bar("train", 100, head="step", done=40, every_seconds=10) as bar:
        for step in range(41, 101):
            clock[0] += 1
            bar.update(step, lambda: made.append(bar.done) or f"loss {bar.done}", now=step == 41)
    lines = capsys.readouterr().out.splitlines()
    assert made == [41, 51, 61, 71, 81, 91, 100]
    assert lines[1] == "step 51/100 (51 %)  loss 51  ETA 0:00:49", "at the rate of this part of the run"


def test_the_first_step_does_not_count_in_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("secseg.utils.progress.time.monotonic", lambda: clock[0])
    with Bar("train", 600, head="step", every_seconds=0) as bar:
        for step in range(1, 11):
            clock[0] += 60 if step == 1 else 0.5  # the first compiles
            bar.update(step, str)
    left = [line.rpartition("ETA ")[2] for line in capsys.readouterr().out.splitlines()]
    assert left == ["-"] * 6 + ["0:04:56", "0:04:56", "0:04:56", "0:04:55"], "599 steps of a minute would be 10 hours"


def test_the_time_left_follows_the_speed_of_the_last_half_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("secseg.utils.progress.time.monotonic", lambda: clock[0])
    with Bar("train", 200, head="step", every_seconds=0) as bar:
        for step in range(1, 141):
            clock[0] += 5 if step <= 40 else 0.5
            bar.update(step, lambda: f"{bar.rate():.1f}/s")
    lines = capsys.readouterr().out.splitlines()
    assert lines[39].endswith("0.2/s  ETA 0:13:20")
    assert lines[139].endswith("2.0/s  ETA 0:00:30"), "60 steps of half a second"


def test_a_pause_between_steps_does_not_count(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("secseg.utils.progress.time.monotonic", lambda: clock[0])
    with Bar("train", 100, head="step", every_seconds=0) as bar:
        for step in range(1, 41):
            bar.resume()
            clock[0] += 1
            bar.update(step, lambda: f"{bar.rate():.1f}/s")
            if step % 10 == 0:
                bar.pause()
                clock[0] += 500
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("/s")[0].split()[-1] for line in lines[4:]] == ["1.0"] * 36
    assert lines[-1].endswith("ETA 0:01:00")


def test_a_line_has_a_speed_if_and_only_if_it_has_a_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("secseg.utils.progress.time.monotonic", lambda: clock[0])
    meter = ImageMeter("cues", 120, every_seconds=0)
    for number in range(30):
        clock[0] += 0.1 if number else 60
        meter.update()
    lines = capsys.readouterr().out.splitlines()
    assert [("images/s" in line, "ETA -" in line) for line in lines] == [(False, True)] * 20 + [(True, False)] * 10


def test_a_terminal_gets_bars_that_prints_and_log_lines_do_not_tear(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_terminal(monkeypatch)
    log = logging.getLogger("bars")
    log.addHandler(PrintHandler())
    with Bar("train", 2, head="step") as bar, Bar("[validation]", 5) as inner:
        inner.update(3, str)
        print("printed [bold] words")
        log.warning("logged %s", "words")
        inner.close()
        bar.update(1, lambda: "loss 0.5")
    text = capsys.readouterr().out
    assert "1/2" in text
    assert "loss 0.5" in text
    assert "[validation] " in text
    for line in ("printed [bold] words", "logged words"):
        assert f"\x1b[2K{line}\n" in text, "after the bar is erased, on a separate line"
    assert progress._display is None


def test_a_terminal_of_80_columns_shows_all_terms_of_the_loss(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", "80")
    terms = [f"term{number} 0.{number}" for number in range(12)]
    with Bar("train", 600, head="step") as bar:
        bar.update(1, lambda: "  ".join(terms))
    words = capsys.readouterr().out.split()
    assert all(word in words for term in terms for word in term.split())


def test_an_exception_closes_the_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    use_terminal(monkeypatch)
    with pytest.raises(KeyboardInterrupt), ImageMeter("maps", 2):
        raise KeyboardInterrupt
    assert progress._display is None
    assert capsys.readouterr().out.endswith("\x1b[?25h"), "the cursor is visible again"


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_terminal_without_control_codes_gets_lines(
    term: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_terminal(monkeypatch, term)
    with ImageMeter("maps", 1) as meter:
        meter.update()
    assert capsys.readouterr().out.startswith("maps: image 1/1 (100 %)  ")


def test_a_job_of_a_sweep_in_another_process_gets_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_terminal(monkeypatch)
    monkeypatch.setattr(multiprocessing.current_process(), "name", "LokyProcess-1")
    with ImageMeter("maps", 1) as meter:
        meter.update()
    assert capsys.readouterr().out.startswith("maps: image 1/1 (100 %)  "), "bars of several jobs would tear each other"


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


def test_a_stage_that_occurs_twice_adds_up() -> None:
    watch = Stopwatch()
    for _ in range(2):
        with watch("reading"):
            pass
    first = watch.seconds["reading"]
    with watch("reading"):
        pass
    assert watch.seconds["reading"] > first
