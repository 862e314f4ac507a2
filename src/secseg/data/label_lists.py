"""Read lists of labels as CLIP-ES has them for COCO: an id and class numbers, with spaces between."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from secseg.data.label_cells import TableOptions
from secseg.data.label_entries import BACKGROUND, LabelTable, image_finder
from secseg.data.label_rows import Naming
from secseg.utils.errors import UserError

_LINE = re.compile(r"\S+([ \t]+-?\d{1,6})*")


def is_label_list(text: str, naming: Naming, names: Collection[str]) -> bool:
    """Return whether each line of ``text`` is a word and whole numbers, with spaces between, and one of the first lines
    has numbers. A line that as a whole is the name of an image (``photo 3``) makes it another kind of file."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if any(mark in text for mark in ",;|") or not all(map(_LINE.fullmatch, lines)):
        return False
    return any(" " in line or "\t" in line for line in lines) and not any(
        naming(line) in names for line in lines if len(line.split()) > 1
    )


def read_label_list(
    path: Path, text: str, naming: Naming, names: Collection[str], class_names: Collection[str], options: TableOptions
) -> LabelTable:
    """Read lines of an id and class numbers, ``COCO_train2014_000000000009 45 49 50``, or of an id alone.

    The first foreground class is number 0 in COCO's lists, and 1 in others. If a 0 occurs, it is 0. If the number of
    foreground classes occurs, it is 1. Else ``options.first_class`` has to state it. Numbers stay words if the classes
    are not known.

    Args:
        path, names, class_names, options: as for ``read_table``.
        text: the content of the file.
        naming: maps an id to the name of an image.

    Raises:
        UserError: if it is VOC's list of one class, or the numbers do not fit the classes, or fit them in two ways.
    """
    table, find = LabelTable(path), image_finder(naming, names)
    numbers: set[int] = set()
    for count, line in enumerate(text.splitlines(), 1):
        if words := line.split():
            table.add_written(find(words[0]), f"line {count}", words[1:], class_names, is_list=False)
            numbers.update(map(int, words[1:]))
    if numbers and min(numbers) < 0:
        raise UserError(
            f"The labels in {path} hold {min(numbers)}: it is VOC's list of one class. Name the folder of the lists of "
            "all classes, ImageSets/Main."
        )
    classes = [name for name in class_names if name != BACKGROUND]
    if classes and not {str(number) for number in numbers} <= set(classes):
        table.first_class = _first_class(path, numbers, classes, options.first_class)
        counted = "zero-based class numbers" if table.first_class == 0 else "class numbers from 1"
        table.form = f"{counted} after the id"
    return table


def _first_class(path: Path, numbers: Collection[int], classes: Collection[str], given: int | None) -> int:
    low, high = min(numbers), max(numbers)
    fitting = [first for first in (0, 1) if first <= low and high < first + len(classes)]
    if given is not None and given in fitting:
        return given
    if given is None and len(fitting) == 1:
        return fitting[0]
    what = f"The class numbers in {path} run from {low} to {high}, and there are {len(classes)} classes"
    if not fitting:
        raise UserError(
            f"{what} without background ({', '.join(list(classes)[:4])}, ...), which have the numbers 0 to "
            f"{len(classes) - 1}, or 1 to {len(classes)}. The list is of another data set."
        )
    if given is not None:
        raise UserError(f"{what}, so data.first_class={given} does not fit. Leave it out: {fitting[0]} does.")
    raise UserError(
        f"{what}, so the first class can be number 0 or 1. COCO's lists of CLIP-ES start with 0: set "
        "data.first_class=0 or data.first_class=1."
    )
