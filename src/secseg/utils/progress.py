"""Progress of long work, for all commands: bars in a terminal, plain lines elsewhere; and what takes the time."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Result = TypeVar("Result")

STAGES = ("reading", "network", "CRF", "output")
"""Stages of an image; in the last one, its mask is scored or written."""
REFRESH_SECONDS = 0.5
"""Time between two updates of a bar in a terminal."""
TIMED_SECONDS, TIMED_COUNT = 3.0, 20
"""Time, or number, of steps or images from which speed and ETA are computed."""
RECENT_SECONDS = 30.0
"""Time over whose steps or images speed and ETA are averaged."""

_display: Progress | None = None  # of all bars: rich shows one live display at a time


def timed(compute: Callable[[], Result]) -> tuple[Result, float]:
    """Call ``compute`` twice. Return the result and the seconds of the second call.

    The first call takes longer: memory is allocated, and code is chosen.
    """
    compute()
    started = time.perf_counter()
    return compute(), time.perf_counter() - started


def is_terminal() -> bool:
    """Return whether bars can be shown: standard output is a terminal, and no other job of a sweep writes to it."""
    if _display is not None:  # standard output is rich's at that time
        return True
    in_child = multiprocessing.current_process().name != "MainProcess"
    return sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "unknown") and not in_child


class Bar:
    """Progress of one piece of work: a bar in a terminal, elsewhere a line from time to time.

    A line is ``step 120/600 (20 %)  <text>  ETA 0:03:10``. What is printed or logged meanwhile appears above the bar.
    Speed and ETA are those of the last half minute. They leave out pauses, and the first step or image, which compiles
    code and starts processes: the clock starts when it ends. Both are unknown until some seconds or steps are timed.

    Args:
        title: what is done, in a word; stands before the bar.
        total: number of steps or images.
        head: what the line starts with; None for ``<title>: image``.
        done: number of them that are done at the start.
        every_seconds: time between two lines where the output is no terminal.
    """

    def __init__(
        self, title: str, total: int, head: str | None = None, done: int = 0, every_seconds: float = 10.0
    ) -> None:
        self.total, self.done = total, done
        self._head = head or f"{title}: image"
        self._begun = done
        self._shown = time.monotonic()
        self._marks: deque[tuple[float, int]] = deque()  # recent times, and the number that was done
        self._first: tuple[float, int] | None = None
        self._paused = 0.0  # seconds of pauses
        self._pause: float | None = None  # when the pause began
        self._task = _show(title, total, done) if is_terminal() else None
        self._every = every_seconds if self._task is None else REFRESH_SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, done: int, text: Callable[[], str], now: bool = False) -> None:
        """Set the number of steps or images that are done.

        Args:
            done: their number, those at the start included.
            text: returns what to show besides; called only if something is shown.
            now: show it at once.
        """
        self.done = done
        if done > self._begun:
            self._marks.append((self._clock(), done))
            self._first = self._first or self._marks[0]
        while len(self._marks) > 2 and self._clock() - self._marks[1][0] >= RECENT_SECONDS:
            self._marks.popleft()
        if not (now or done == self.total or time.monotonic() - self._shown >= self._every):
            return
        self._shown = time.monotonic()
        if self._task is None:
            share = f"{100 * done / self.total:.0f} %"
            print(f"{self._head} {done}/{self.total} ({share})  {text()}  ETA {self.time_left()}", flush=True)
        elif _display is not None:
            _display.update(self._task, completed=done, left=self.time_left(), text=text(), refresh=True)

    def pause(self) -> None:
        """Stop the clock of speed and ETA, as for a validation between two steps."""
        self._pause = self._clock()

    def resume(self) -> None:
        """Let the clock run again after ``pause``."""
        if self._pause is not None:
            self._paused, self._pause = time.monotonic() - self._pause, None  # the clock stands where it stood

    def rate(self) -> float:
        """Return the recent number of steps or images a second; 0 if it is not known yet."""
        if self._first is None:
            return 0.0
        (since, first), now = self._first, self._clock()
        if self.done < self.total and now - since < TIMED_SECONDS and self.done - first < TIMED_COUNT:
            return 0.0
        recent, done = self._marks[0]
        return (self.done - done) / max(now - recent, 1e-9)

    def time_left(self) -> str:
        """Return the time that the rest takes at the recent rate, ``0:03:10``; ``-`` if it is not known yet."""
        rate, rest = self.rate(), self.total - self.done
        if rest and not rate:
            return "-"
        return str(timedelta(seconds=round(rest / rate) if rest else 0))

    def _clock(self) -> float:
        """Return the time without pauses."""
        return time.monotonic() - self._paused

    def close(self) -> None:
        """Remove the bar; the last one that is open stays in the terminal as it is."""
        if self._task is not None:
            _close(self._task)
            self._task = None


class Stopwatch:
    """Wall time of the stages of one image: ``with watch("reading"): ...``."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started


class ImageMeter:
    """Counts images and shows their number, images a second, the time left and, if measured, the share of each stage.

    Args:
        what: what is done with the images, in a word.
        total: number of images.
        every_seconds: time between two lines where the output is no terminal.

    Attributes:
        done: number of images so far.
        stages: seconds of each stage, summed over images that are processed in parallel.
        seconds: wall time of the ``with`` block; 0 until it ends.
    """

    def __init__(self, what: str, total: int, every_seconds: float = 10.0) -> None:
        self.done, self.total = 0, total
        self.seconds = 0.0
        self.stages: dict[str, float] = {}
        self._started = time.monotonic()
        self._bar = Bar(what, total, every_seconds=every_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._started
        self._bar.close()

    def update(self, stages: Mapping[str, float] | None = None, images: int = 1) -> None:
        """Count images, with the seconds of their stages."""
        self.done += images
        for stage, seconds in (stages or {}).items():
            self.stages[stage] = self.stages.get(stage, 0.0) + seconds
        self._bar.update(self.done, self._text)

    def shares(self) -> dict[str, float]:
        """Return the share of each stage in the time, summed over images that are processed in parallel; empty if no
        stage was measured."""
        total = sum(self.stages.values())
        return {stage: self.stages.get(stage, 0.0) / total for stage in STAGES} if total else {}

    def shares_text(self) -> str:
        """Return the shares in words, the largest first; those below a percent are left out."""
        ordered = sorted(self.shares().items(), key=lambda share: -share[1])
        return ", ".join(f"{stage} {100 * share:.0f} %" for stage, share in ordered if share >= 0.01)

    def time(self) -> dict[str, Any]:
        """Return what ``results.json`` states of the time, after the ``with`` block: ``seconds``,
        ``images_per_second`` and ``shares``."""
        return {
            "seconds": self.seconds,
            "images_per_second": self.done / max(self.seconds, 1e-9),
            "shares": self.shares(),
        }

    def _text(self) -> str:
        rate = self._bar.rate()
        return "  ".join(part for part in (f"{rate:.1f} images/s" if rate else "", self.shares_text()) if part)


def _show(title: str, total: int, done: int) -> TaskID:
    """Add a bar to the display; without a thread that redraws it, since data loaders fork this process."""
    global _display
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    if _display is None:
        console = Console(force_terminal=True)
        rest = Column(ratio=1, overflow="fold")  # the rest of the width; a long text takes more lines
        columns = [
            TextColumn("{task.description}", markup=False, style=""),
            BarColumn(20 if console.width >= 120 else 10),
            TextColumn("{task.completed}/{task.total}  ETA {task.fields[left]}  ", markup=False, style=""),
            TextColumn("{task.fields[text]}", markup=False, style="", table_column=rest),
        ]
        _display = Progress(*columns, console=console, auto_refresh=False, expand=True)
        _display.start()
    task = _display.add_task(title, total=total, completed=done, left="-", text="")
    _display.refresh()
    return task


def _close(task: TaskID) -> None:
    global _display
    assert _display is not None
    if len(_display.task_ids) > 1:
        _display.remove_task(task)
        _display.refresh()
    else:
        _display.stop()
        _display = None
