"""How far work on many images is: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import Self

from tqdm import tqdm

BAR = "{desc} {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}]"


class ImageMeter:
    """Counts images, with images a second and the time left.

    Args:
        what: what is done with them, in a word.
        total: images to come.
        every_seconds: where the output is no terminal, a line is printed about so often.
    """

    def __init__(self, what: str, total: int, every_seconds: float = 10.0) -> None:
        self.total, self.every_seconds = total, every_seconds
        self.done = 0
        self._started = self._shown = time.monotonic()
        self._bar = None
        if sys.stdout.isatty():
            self._bar = tqdm(
                desc=what, total=total, unit=" images", bar_format=BAR, dynamic_ncols=True, file=sys.stdout
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self) -> None:
        """Count one image."""
        self.done += 1
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update()
        elif now - self._shown >= self.every_seconds or self.done == self.total:
            self._shown = now
            rate = self.done / max(now - self._started, 1e-9)
            left = timedelta(seconds=round((self.total - self.done) / rate))
            print(f"image {self.done}/{self.total}  {rate:.1f} images/s  ETA {left}", flush=True)
