"""Read lists of images: a line for each image, as an id or a file, with or without other columns."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from secseg.data.images import image_name
from secseg.data.label_cells import NUMBER
from secseg.data.walk import SUFFIXES
from secseg.utils.errors import UserError, listing
from secseg.utils.text import read_text

log = logging.getLogger(__name__)

_COLUMN = re.compile(r"[-+]?\d+(\.\d+)?|\S+\.\w+")
"""A number, or a file: what a list has after the image."""


def read_ids(path: Path, naming: Callable[[str], str], known: Collection[str] = ()) -> tuple[str, ...]:
    """Read an id list.

    A line is an id or a file. Other columns may follow: an index, numbers of classes, a mask. They are not read, which
    is logged if they may have a meaning (see ``_warn_of_columns``). A line that as a whole is the name of an image is
    this image: ``photo 3`` is ``photo 3.jpg`` if it exists, and else ``photo.jpg``, if each line has columns. Empty
    lines and lines that start with ``#`` are ignored.

    Args:
        path: the list, in UTF-8, or in UTF-16 with a byte order mark.
        naming: maps an id or the path of a file, with ``/`` or ``\\``, to the name of an image.
        known: names of the images. They show where a name with spaces ends. A name that is not known is kept.

    Raises:
        UserError: if the file cannot be read, is empty, or names an image twice (up to upper and lower case).
    """
    try:
        lines = [line.strip() for line in read_text(path).splitlines()]
    except (OSError, UserError) as error:
        raise UserError(f"Cannot read the id list {path}: {error}") from error
    parsed = [_parsed(line, naming, known) for line in lines if line and (line[0] != "#" or naming(line) in known)]
    if not parsed:
        raise UserError(f"The id list {path} is empty.")
    all_have_columns = all(line.columns for line in parsed)
    names = [line.name if line.certain or all_have_columns else line.whole for line in parsed]
    folded = Counter(name.casefold() for name in names)
    if alike := sorted((name for name in dict.fromkeys(names) if folded[name.casefold()] > 1), key=str.casefold):
        raise UserError(
            f"The id list {path} names these images more than once, or their names differ only in upper and lower "
            f"case, which many file systems do not distinguish:\n{listing(alike)}"
        )
    _warn_of_columns(path, [line for line in parsed if line.columns])
    return tuple(names)


class _Line(NamedTuple):
    """A line of a list.

    Attributes:
        name: name of the image.
        whole: the name if the line has no other columns.
        columns: the other columns.
        certain: whether the line alone shows where the name ends.
    """

    name: str
    whole: str
    columns: Sequence[str] = ()
    certain: bool = True


def _parsed(line: str, naming: Callable[[str], str], known: Collection[str]) -> _Line:
    if len(line) > 2 and line[0] == line[-1] and line[0] in "'\"":
        line = line[1:-1]
    if image_name(line) in known:
        return _Line(image_name(line), image_name(line))
    whole = naming(line)
    ends = [space.start() for space in re.finditer(r"\s+", line)]
    heads = [line[:end] for end in (*ends, len(line))]
    files = [head for head in heads if head.lower().endswith(SUFFIXES)]
    for head in files:
        if naming(head) in known:
            return _Line(naming(head), whole, line[len(head) :].split())
    if whole in known:
        return _Line(whole, whole)
    for head in reversed(heads[:-1]):
        columns = line[len(head) :].split()
        if naming(head) in known and (columns[0].startswith("#") or all(map(_COLUMN.fullmatch, columns))):
            is_comment = columns[0].startswith("#")
            return _Line(naming(head), whole, () if is_comment else columns, certain=is_comment)
    unknown = naming(files[0]) if files else whole
    return _Line(unknown, unknown)


def _warn_of_columns(path: Path, lines: Sequence[_Line]) -> None:
    """Warn of numbers that are not read: they may be labels, say which images are meant, or end the name of an image.

    Numbers that repeat are the first two. Those that follow a name without suffix may be the last, unless they count
    the lines.
    """
    columns = [line.columns[0] for line in lines]
    values = sorted(value for value in set(columns) if NUMBER.fullmatch(value))
    counted = len(lines) > 1 and columns in ([str(first + at) for at in range(len(lines))] for first in (0, 1))
    unsure = [line for line in lines if not line.certain and NUMBER.fullmatch(line.columns[0])]
    if len(values) < len(columns) and values:
        log.warning(
            "%s: the second column (%s) is not read. The split has all %d images. Remove lines from the list to change "
            "this.",
            *(path, ", ".join(values[:5]) + (", ..." if len(values) > 5 else ""), len(columns)),
        )
    elif unsure and not counted:
        log.warning(
            "%s: the line %r is read as the image %s, because there is no image %s. What follows the name is not read "
            "in %d lines. If it belongs to the name, correct the list.",
            *(path, " ".join((unsure[0].name, *unsure[0].columns)), unsure[0].name, unsure[0].whole, len(unsure)),
        )
