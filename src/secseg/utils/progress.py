"""How far work on many images is, and what takes the time: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Self

from tqdm import tqdm

BAR = "{desc} {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
STAGES = ("reading", "network", "CRF", "output")
"""What a photograph goes through; output is what is done with its mask, which is scored or written."""


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
    """Counts images, with images a second, the time left and, where it is told, the share of each stage.

    Args:
        what: what is done with them, in a word.
        total: images to come.
        every_seconds: where the output is no terminal, a line is printed about so often.

    Attributes:
        done: images so far.
        stages: seconds of each stage, added up over images that ran side by side.
        seconds: wall time from the start to the end of the ``with`` block, 0 before that.
    """

    def __init__(self, what: str, total: int, every_seconds: float = 10.0) -> None:
        self.seconds = 0.0
        self.total, self.every_seconds = total, every_seconds
        self.done = 0
        self.stages: dict[str, float] = {}
        self._started = self._shown = time.monotonic()
        self._bar = None
        if sys.stdout.isatty():
            self._bar = tqdm(
                desc=what, total=total, unit=" images", bar_format=BAR, dynamic_ncols=True, file=sys.stdout
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._started
        if self._bar is not None:
            self._bar.close()

    def update(self, stages: Mapping[str, float] | None = None) -> None:
        """Count one image, with the seconds of its stages."""
        self.done += 1
        for stage, seconds in (stages or {}).items():
            self.stages[stage] = self.stages.get(stage, 0.0) + seconds
        now = time.monotonic()
        if self._bar is not None:
            self._bar.set_postfix_str(self.shares_text(), refresh=False)
            self._bar.update()
        elif now - self._shown >= self.every_seconds or self.done == self.total:
            self._shown = now
            rate = self.done / max(now - self._started, 1e-9)
            left = timedelta(seconds=round((self.total - self.done) / rate))
            parts = [f"image {self.done}/{self.total}", f"{rate:.1f} images/s", f"ETA {left}", self.shares_text()]
            print("  ".join(part for part in parts if part), flush=True)

    def shares(self) -> dict[str, float]:
        """Return the part of the time that went into each stage, over images that ran side by side; empty where no
        stage was told."""
        whole = sum(self.stages.values())
        return {stage: self.stages.get(stage, 0.0) / whole for stage in STAGES} if whole else {}

    def shares_text(self) -> str:
        """Return the shares in words, the stage that limits first; those below a percent are left out."""
        ordered = sorted(self.shares().items(), key=lambda share: -share[1])
        return ", ".join(f"{stage} {100 * share:.0f} %" for stage, share in ordered if share >= 0.01)

    def time(self) -> dict[str, Any]:
        """Return what ``results.json`` states of the time that it took, once it is over: ``seconds``,
        ``images_per_second`` and ``shares``."""
        return {
            "seconds": self.seconds,
            "images_per_second": self.done / max(self.seconds, 1e-9),
            "shares": self.shares(),
        }
