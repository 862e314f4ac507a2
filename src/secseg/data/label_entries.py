"""The labels of images as a file gives them: the words of each image, where they are written, and what is wrong."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from secseg.data.label_cells import CellError, check_words
from secseg.data.label_rows import Naming

BACKGROUND = "background"


@dataclass
class LabelTable:
    """The content of a file of labels.

    Attributes:
        path: the file, or the folder of the files.
        words: the labels of each image as written; an empty tuple means background alone.
        places: the line or entry of each image, for messages.
        unknown: the line of each image whose labels are unknown, with the word for it (``nan``).
        columns: the classes in the order of their columns, if each class has a column; else None.
        splits: ``train``, ``val`` or ``test`` of each image, if the table has a column ``split``; else empty.
        titles: the first line, if it was read as titles.
        problems: a message for each problem, with the number of the line.
        notes: a line for each thing that the user may not have intended.
        form: the form of the file and how it was read, for messages and results; empty for a table or JSON.
        first_class: the number of the first foreground class in words that are numbers: 1, where 0 is the background,
            or 0.
    """

    path: Path
    words: dict[str, tuple[str, ...]] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    columns: tuple[str, ...] | None = None
    splits: dict[str, str] = field(default_factory=dict)
    titles: tuple[str, ...] | None = None
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    form: str = ""
    first_class: int = 1

    def add(self, name: str, place: str, words: Sequence[str] | None, word: str = "") -> None:
        """Add an image; ``words`` is None if its labels are unknown, written as ``word``."""
        if name in self.places:
            self.problems.append(f"{place}: {name} is listed a second time (first: {self.places[name]}).")
            return
        self.places[name] = place
        if words is None:
            self.unknown[name] = f"{place}: {word!r}" if word else place
        else:
            self.words[name] = tuple(dict.fromkeys(words))

    def add_written(
        self, name: str, place: str, words: Sequence[str], class_names: Collection[str], is_list: bool
    ) -> None:
        """Add the labels of an image, as written, or the reason why they are none; arguments as for ``check_words``."""
        try:
            self.add(name, place, check_words(words, class_names, is_list), " ".join(words))
        except CellError as error:
            self.problems.append(f"{place}, {name}: {error}")
            self.add(name, place, [])

    @property
    def source(self) -> str:
        """Name of the file, with its form, for messages and results."""
        return f"{self.path.name} ({self.form})" if self.form else self.path.name


def image_finder(naming: Naming, names: Collection[str]) -> Naming:
    """Return what maps a word of a file to the name of the image: as ``naming`` does if there is such an image, or else
    by its digits.

    Files call the image ``2007_000032`` 2007000032, and ``COCO_train2014_000000000009`` 9 or 000000000009. Digits that
    several images have are not used.
    """
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(_digits(name), []).append(name)

    def find(word: str) -> str:
        name = naming(word)
        digits = "" if name in names else _digits(name)
        same = found.get(digits, []) if digits else []
        return same[0] if len(same) == 1 else name

    return find


def _digits(name: str) -> str:
    """Return the number that a name consists of, or that is at its end after ``COCO_``; empty for other names."""
    match = re.fullmatch(r"(?:COCO_\w+?_)?(\d+(?:_\d+)*)", name)
    return match[1].replace("_", "").lstrip("0") if match else ""
