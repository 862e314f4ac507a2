"""Text for the terminal: tables, percentages, and log lines that do not tear a progress bar."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

COLUMNS = 100
"""Widest line of a table."""
NUMBER_COLUMNS = 8
"""Narrowest column of numbers, so that columns of consecutive tables are aligned, too."""
SPACE = "  "


def table(rows: Sequence[Sequence[str]], left: int = 1, rule: int | None = None) -> str:
    """Return rows as lines of at most 100 columns, for terminals and pipes: spaces, and dashes for the rule.

    Wide characters (Chinese, Japanese, Korean) count two columns. If the lines are too wide, cells of the first column
    are cut, to ``...``.

    Args:
        rows: cells, usually with a row of titles first. A row may be short.
        left: the number of columns, from the left, that are aligned to the left; the others are aligned to the right.
        rule: the row, counted as in a list (-1 is the last), above which a line of dashes is drawn.
    """
    count = max(map(len, rows))
    full = [[*row, *[""] * (count - len(row))] for row in rows]
    widths = [
        max(0 if place < left else NUMBER_COLUMNS, *(cell_len(row[place]) for row in full)) for place in range(count)
    ]
    others = sum(widths[1:]) + len(SPACE) * (count - 1)
    widths[0] = min(widths[0], max(COLUMNS - others, NUMBER_COLUMNS))
    lines = [
        SPACE.join(
            set_cell_size(cut(cell, width), width) if place < left else " " * (width - cell_len(cell)) + cell
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in full
    ]
    if rule is not None:
        lines.insert(rule % len(rows), "-" * (widths[0] + others))
    return "\n".join(lines)


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown. The cells are taken as they are: the caller escapes them."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (titles, ["---"] * len(titles), *rows))


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share as percent, without the sign; ``-`` for None and NaN."""
    return "-" if value is None or math.isnan(value) else f"{100 * value:.{digits}f}"


def cut(text: str, columns: int) -> str:
    """Return ``text`` in at most ``columns`` columns of the terminal; a longer one ends in ``...``."""
    return text if cell_len(text) <= columns else f"{set_cell_size(text, columns - 3)}..."


class PrintHandler(logging.Handler):
    """Prints log records. Unlike ``logging.StreamHandler``, looks up ``sys.stdout`` for each: while a progress bar is
    shown, that is rich's, which writes above the bar."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), flush=True)
