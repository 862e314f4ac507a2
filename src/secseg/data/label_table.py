"""Read tables of image-level labels, CSV or JSON, in the forms that users have."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from secseg.data.images import image_name
from secseg.data.walk import is_image_file
from secseg.utils.errors import UserError

LABEL_TITLES = ("label", "labels", "class", "classes", "tag", "tags", "category", "categories")
"""Titles of a column that holds names of classes."""
SPLIT_TITLE = "split"
SPLITS = ("train", "val", "test")
FLAGS = {"1": True, "1.0": True, "true": True, "": False, "0": False, "0.0": False, "false": False}
_SEPARATORS = re.compile(r"[;|,]")


@dataclass
class LabelTable:
    """The content of a table.

    Attributes:
        path: the file.
        words: the labels of each image as written; an empty tuple means background alone.
        places: the line or entry of each image, for messages.
        columns: the classes in the order of their columns, if each class has a column; else None.
        splits: ``train``, ``val`` or ``test`` of each image, if the table has a column ``split``; else empty.
        titles: the first line, if it was read as titles.
        problems: a message for each problem, with the number of the line.
    """

    path: Path
    words: dict[str, tuple[str, ...]] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    columns: tuple[str, ...] | None = None
    splits: dict[str, str] = field(default_factory=dict)
    titles: tuple[str, ...] | None = None
    problems: list[str] = field(default_factory=list)

    def add(self, name: str, place: str, words: Sequence[str]) -> None:
        if name in self.words:
            self.problems.append(f"{place}: {name} is listed a second time (first: {self.places[name]}).")
            return
        self.words[name] = tuple(dict.fromkeys(words))
        self.places[name] = place


Naming = Callable[[str], str]
"""Maps the cell of a table that names an image to the name of the image."""


def read_table(path: Path, names: Collection[str], class_names: Collection[str] = (), prefix: str = "") -> LabelTable:
    """Read a table of labels.

    CSV (UTF-8; separated by commas, or by semicolons or tabs if the first line has no comma) has a line for each image:

    - ``image,labels``: the labels of the image in one cell, separated by ``;``, ``|`` or ``,``, or by spaces if no line
      has any of these. A cell that equals a class of ``class_names`` is that class. More cells hold more labels. A
      first line of titles is optional. If a column has the title labels (or class, tags, category, ...), only this
      column holds labels.
    - one column for each class, named by the titles, with 1 or 0 (or true, false, nothing).

    In both, a column with the title ``split`` holds ``train``, ``val`` or ``test``. JSON is
    ``{"image": ["label", ...], ...}``. An image is named by its path below the folder of images, with or without
    suffix.

    Args:
        path: the file.
        names: names of the images, to distinguish a first line of titles from an image.
        class_names: the classes, if known.
        prefix: path of the folder of images (``images/``), which names in the table may start with.

    Raises:
        UserError: if the file cannot be read as a table, with the line. Problems of single lines are in ``problems``.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(f"There is no file of labels at {path}.") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(
            f"Cannot read the labels in {path}: line {line} is not UTF-8. Save the file as UTF-8."
        ) from error
    except OSError as error:
        raise UserError(f"Cannot read the labels in {path}: {error.strerror}.") from error

    def naming(cell: str) -> str:
        name = image_name(cell)
        return name if name in names else name.removeprefix(prefix)

    if path.suffix.lower() == ".json":
        return _read_json(path, text, naming)
    return _read_csv(path, text, naming, names, class_names)


def _read_json(path: Path, text: str, naming: Naming) -> LabelTable:
    table = LabelTable(path)
    try:
        entries: Any = json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise UserError(f"Cannot read the labels in {path}: {error}.") from error
    if not isinstance(entries, _Pairs):
        raise UserError(f'{path} does not have the form {{"image": ["label", ...], ...}}: it holds no names of images.')
    for image, labels in entries:
        is_list = isinstance(labels, list) and not isinstance(labels, _Pairs)
        if not is_list or not all(isinstance(label, str) or type(label) is int for label in labels):
            table.problems.append(f'{image}: give its labels as a list, ["label", ...], and [] for background alone.')
            labels = []
        table.add(naming(image), f"entry {image!r}", [str(label).strip() for label in labels])
    return table


class _Pairs(list[tuple[str, Any]]):
    """The entries of a JSON object. A dict would hide a name that is listed twice."""


def _read_csv(
    path: Path, text: str, naming: Naming, names: Collection[str], class_names: Collection[str]
) -> LabelTable:
    rows = list(_rows(path, text))
    if not rows:
        raise UserError(f"The table of labels {path} is empty.")
    table = LabelTable(path)
    first = rows[0][1]
    if naming(first[0]) not in names and not is_image_file(first[0]):
        table.titles = tuple(first)
        rows = rows[1:]
    named = [(line, naming(cells[0]), cells) for line, cells in rows]
    titles = [title.casefold() for title in table.titles or ()]
    split = _split_column(titles, [cells for _, cells in rows])
    labels = [column for column in range(1, len(titles)) if titles[column] in LABEL_TITLES]
    flags = _are_flags(cell for _, cells in rows for at, cell in enumerate(cells) if at not in (0, split))
    if flags and table.titles is None and {len(cells) for _, cells in rows} - {1, 2} == {len(first)}:
        raise UserError(
            f"{path} has a column for each class, but no titles. Add a first line: image, then the class names."
        )
    if flags and table.titles is not None and not labels:
        _by_column(table, named, table.titles, split)
    else:
        kept = labels or [column for column in range(1, len(titles)) if column != split]
        _by_cell(table, named, kept, len(titles) or 1, class_names)
    if split is not None:
        for line, name, cells in named:
            word = cells[split] if split < len(cells) else ""
            if word not in SPLITS:
                table.problems.append(f"line {line}, {SPLIT_TITLE}: {word!r} is not one of {', '.join(SPLITS)}.")
            table.splits[name] = word
    return table


def _rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the cells of each line that is not empty."""
    start = text.lstrip().partition("\n")[0]
    delimiter = next((mark for mark in (",", ";", "\t") if mark in start), ",")
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        for cells in lines:
            if any(cell.strip() for cell in cells):
                yield lines.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise UserError(f"Cannot read the labels in {path}: line {lines.line_num}: {error}.") from error


def _split_column(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> int | None:
    if SPLIT_TITLE not in titles[1:]:
        return None
    column = titles.index(SPLIT_TITLE, 1)
    is_class = all(cells[column : column + 1] in (["0"], ["1"]) for cells in rows)
    return None if is_class else column


def _are_flags(cells: Iterator[str]) -> bool:
    """Return whether most filled cells are 0 or 1. A few other cells are errors, which are reported by their lines."""
    filled = [cell.casefold() in FLAGS for cell in cells if cell]
    return 2 * sum(filled) > len(filled)


def _by_column(
    table: LabelTable, rows: Sequence[tuple[int, str, list[str]]], titles: Sequence[str], split: int | None
) -> None:
    columns = [at for at in range(1, len(titles)) if at != split]
    names = [titles[at] for at in columns]
    table.columns = tuple(names)
    repeated = sorted(name for name, count in Counter(names).items() if name and count > 1)
    table.problems += [f"line 1: the column {name!r} is listed twice." for name in repeated]
    table.problems += [f"line 1: column {at + 1} has no title." for at in columns if not titles[at]]
    for line, image, cells in rows:
        if len(cells) != len(titles):
            table.problems.append(f"line {line} has {len(cells)} cells, but there are {len(titles)} titles.")
        found = []
        for at, name in zip(columns, names, strict=True):
            cell = cells[at] if at < len(cells) else ""
            if cell.casefold() not in FLAGS:
                table.problems.append(f"line {line}, {name}: {cell!r} is neither 1 nor 0.")
            elif FLAGS[cell.casefold()]:
                found.append(name)
        table.add(image, f"line {line}", found)


def _by_cell(
    table: LabelTable,
    rows: Sequence[tuple[int, str, list[str]]],
    kept: Sequence[int],
    titled: int,
    class_names: Collection[str],
) -> None:
    found = []
    for line, image, cells in rows:
        chosen = [cell for at, cell in enumerate(cells) if at in kept or at >= titled]
        found.append((line, image, [cell for cell in chosen if cell]))
    separated = any(len(cells) > 1 or any(map(_SEPARATORS.search, cells)) for _, _, cells in found)
    for line, image, cells in found:
        words: list[str] = []
        for cell in cells:
            parts = [cell] if cell in class_names else _SEPARATORS.split(cell) if separated else cell.split()
            words += [part.strip() for part in parts if part.strip()]
        table.add(image, f"line {line}", words)
