"""The lines of a CSV table of labels: delimiter, the column of the images, columns that hold nothing."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from secseg.utils.errors import UserError

FORMS = (
    "Accepted forms: lines of image,cat;dog; or image,cat,dog as titles, and 1 or 0 (true or false, yes or no, x or "
    'nothing) below each class; or JSON, {"image": ["cat", "dog"], ...}. See docs/own_images.md.'
)
INDEX_TITLES = ("", "unnamed: 0", "index", "id", "no", "nr", "#")
"""Titles of a column that may count the lines."""
_DELIMITERS = (",", ";", "\t", "|")
_SEP = re.compile(r'"?sep=(.)"?\r?\n', re.IGNORECASE)

Naming = Callable[[str], str]
"""Maps the cell of a table that names an image to the name of the image."""
Rows = list[tuple[int, list[str]]]
"""Number and cells of each line."""


def read_rows(path: Path, text: str, naming: Naming, names: Collection[str]) -> Rows:
    """Return the lines by the delimiter that Excel's first line ``sep=`` names, or else finds the most images."""
    if given := _SEP.match(text):
        rows = list(_rows(path, text[given.end() :], given[1], 1))
    else:
        start = text.lstrip().partition("\n")[0]
        marks = [mark for mark in _DELIMITERS if mark in start] or [mark for mark in _DELIMITERS if mark in text]
        best = max(marks, key=lambda mark: _images(path, text, mark, naming, names)) if len(marks) > 1 else None
        rows = list(_rows(path, text, best or next(iter(marks), ",")))
    if not rows:
        raise UserError(f"The table of labels {path} is empty.")
    spaced = [line for line, cells in rows if len(cells) == 1 and _by_spaces(cells[0], naming, names)]
    if len(spaced) == len(rows):
        raise UserError(
            f"Cannot read the labels in {path}: spaces separate the image from its labels (line {spaced[0]}), but "
            f"names may have spaces. Separate them by a comma.\n{FORMS}"
        )
    return rows


def _by_spaces(cell: str, naming: Naming, names: Collection[str]) -> bool:
    return naming(cell) not in names and naming(cell.split()[0]) in names


def _images(path: Path, text: str, delimiter: str, naming: Naming, names: Collection[str]) -> int:
    """Return how many of the first lines name an image in one of their first cells."""
    try:
        rows = [cells for (_, cells), _ in zip(_rows(path, text, delimiter), range(1000), strict=False)]
    except UserError:
        return -1
    return sum(any(naming(cell) in names for cell in cells[:3]) for cells in rows)


def _rows(path: Path, text: str, delimiter: str, skipped: int = 0) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the cells of each line that is not empty."""
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        for cells in lines:
            if any(cell.strip() for cell in cells):
                yield lines.line_num + skipped, [cell.strip() for cell in cells]
    except csv.Error as error:
        line = lines.line_num + skipped
        raise UserError(f"Cannot read the labels in {path}: line {line}: {error}.") from error


def image_first(rows: Rows, naming: Naming, names: Collection[str]) -> tuple[Rows, bool]:
    """Return the lines with the column of the images first; and whether a first column that counts the lines, as
    pandas writes it, was left out."""
    width = min(len(rows[0][1]), 5)
    columns = [[cells[at] if at < len(cells) else "" for _, cells in rows] for at in range(width)]
    found = [sum(naming(cell) in names for cell in column) for column in columns]
    title = columns[0][0].casefold()
    counts_below = title in INDEX_TITLES and _counts(columns[0][1:])
    image = found.index(max(found[1:]), 1) if width > 1 else 0
    is_index = title in INDEX_TITLES[:2] and counts_below and found[image] == len(rows) - 1
    if 2 * found[image] <= len(rows) or (found[0] and not is_index):
        return rows, False
    dropped = counts_below or _counts(columns[0])
    return [(line, _moved(cells, image, dropped)) for line, cells in rows], dropped


def _moved(cells: list[str], image: int, dropped: bool) -> list[str]:
    first = cells[image : image + 1] or [""]
    return [*first, *cells[1 if dropped else 0 : image], *cells[image + 1 :]]


def _counts(column: Sequence[str]) -> bool:
    """Return whether the cells are 0, 1, 2, ... or 1, 2, 3, ..."""
    return any(all(cell == str(at) for at, cell in enumerate(column, start)) for start in (0, 1))


def without_empty_end(titles: Sequence[str], rows: Rows) -> tuple[tuple[str, ...], Rows]:
    """Return titles and lines without columns at the end that have neither title nor content, which Excel writes."""
    while len(titles) > 1 and not titles[-1] and not any(any(cells[len(titles) - 1 :]) for _, cells in rows):
        titles = titles[:-1]
        rows = [(line, cells[: len(titles)]) for line, cells in rows]
    return tuple(titles), rows
