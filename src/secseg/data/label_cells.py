"""The cells of a table of labels: one label or a list of labels, or a yes or no in the column of a class."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from secseg.data.walk import is_image_file

NULLS = frozenset((
    "nan", "none", "null", "na", "n/a", "<na>", "nat", "?", "-", "--", "\u2013", "\u2014", "#n/a", "#value!", "#ref!",
    "#name?", "#div/0!", "#null!", "#num!",
))  # fmt: skip
"""Words that programs write for a value that is missing."""
NUMBER = re.compile(r"[-+]?(\d+[.,]?\d*|[.,]\d+)(e[-+]?\d+)?\s*%?", re.IGNORECASE)
WHOLE = re.compile(r"\d+(\.0+)?")
"""A whole number, as pandas writes a column that has missing values, too."""
SPACE = "space"
_JOINT = re.compile(r"\s*[/\\+&_-]\s*|\s+(?:and|und|et|y|e)\s+|\s+")
"""What may stand between two labels, and may also be part of a name."""
_SEPARATORS = re.compile(r"[;|,]")
_QUOTED = r"(?:np\.str_\()?('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")\)?"
_LIST = re.compile(rf"(?:\s*{_QUOTED}\s*[,;|]?)*\s*")
_BRACKETS = {"[": "]", "{": "}", "(": ")"}
_EDGES = frozenset("[]{}'\"")

# The words for yes and for no that belong together: a table uses one pair.
_PAIRS = (
    ("1", "0"), ("true", "false"), ("t", "f"), ("yes", "no"), ("y", "n"), ("+", "-"), ("x", "empty"),
    ("\u00d7", "empty"), ("\u2713", "empty"), ("\u2714", "empty"), ("\u2611", "\u2610"), ("ja", "nein"),
    ("wahr", "falsch"), ("oui", "non"), ("vrai", "faux"), ("si", "no"), ("s\u00ed", "no"), ("vero", "falso"),
    ("verdadero", "falso"),
)  # fmt: skip
ANSWERS = frozenset(word for pair in _PAIRS for word in pair) - {"1", "0", "empty", "-", "+"}
_EMPTY = frozenset(("", "-"))


@dataclass(frozen=True)
class TableOptions:
    """How to read a table that can be read in two ways.

    Attributes:
        separator: text between the labels of one cell; ``space`` for any white space; None for ``;``, ``|`` and ``,``.
        difficult: whether a 0 in a table that also has -1 (VOC: all objects are difficult) means that the class is
            ``present`` or ``absent``; None if such a table is refused. The same holds for VOC's own files.
        first_class: number of the first foreground class where labels are numbers, 0 or 1; None for 1 in tables, where
            0 is the background, and for what the numbers show in lists.
    """

    separator: str | None = None
    difficult: str | None = None
    first_class: int | None = None


class CellError(ValueError):
    """A cell that cannot be read, with the reason."""


def labels_in(cells: Sequence[str], class_names: Collection[str], separator: str | None) -> list[str]:
    """Return the labels in the cells of one image. ``separator`` is that of ``TableOptions``.

    Raises:
        CellError: if a cell can be read in several ways, or in none.
    """
    words: list[str] = []
    for cell in _joined(cells):
        words += [cell] if cell in class_names else _split(cell, class_names, separator)
    return words


def check_words(words: Sequence[str], class_names: Collection[str], is_list: bool) -> list[str] | None:
    """Return the labels of one image, or None if they are unknown (``nan``).

    Args:
        words: the labels as written.
        class_names: the classes, if known.
        is_list: whether the labels were written as a list. Then 0 and 1 alone are taken for a vector.

    Raises:
        CellError: if these are not labels.
    """
    unknown = [word for word in words if word.casefold() in NULLS and word not in class_names]
    if unknown and len(words) == 1:
        return None
    if unknown:
        raise CellError(f"{unknown[0]!r} is listed with other labels. Remove this word.")
    if len(words) > 1 and {_number(word) for word in words} <= {"0", "1"} and (is_list or len(set(words)) < len(words)):
        raise CellError("the labels are a vector of 0 and 1. Give the names of the classes, or each class a column.")
    if odd := [word for word in words if word not in class_names and (word[:1] in _EDGES or word[-1:] in _EDGES)]:
        raise CellError(f"{odd[0][:80]!r} has a bracket or quote of a list that cannot be read.")
    if files := [word for word in words if word not in class_names and is_image_file(word)]:
        raise CellError(f"{files[0][:80]!r} is an image, not a label.")
    return list(words)


def is_list(cells: Sequence[str]) -> bool:
    """Return whether the cells of one image start with a bracket of a list."""
    return any(cell.startswith("[") for cell in cells)


def _joined(cells: Sequence[str]) -> list[str]:
    """Return the cells, with those that a list without quotes around it was cut into as one."""
    found: list[str] = []
    for cell in cells:
        if found and found[-1][0] in "[{" and not found[-1].endswith(_BRACKETS[found[-1][0]]):
            found[-1] += f",{cell}"
        elif cell:
            found.append(cell)
    return found


def _split(cell: str, class_names: Collection[str], separator: str | None) -> list[str]:
    content = _in_brackets(cell)
    if content is not None:
        if _LIST.fullmatch(content):
            return [_unquoted(quoted) for quoted in re.findall(_QUOTED, content)]
        if any(quote in content for quote in "'\""):
            raise CellError(f"{cell[:80]!r} is not a list that can be read. Write ['cat', 'dog'], or cat;dog.")
        cell = content
    if separator is None:
        parts = _SEPARATORS.split(cell)
    else:
        parts = cell.split() if separator == SPACE else cell.split(separator)
    words = [_bare(part) for part in parts]
    return [word for part in words if part for word in ([part] if separator else _by_space(part, class_names))]


def _in_brackets(cell: str) -> str | None:
    """Return the content of a list, set or tuple as Python writes it, else None."""
    if cell in ("set()", "()", "[]", "{}"):
        return ""
    if len(cell) < 2 or cell[0] not in _BRACKETS or cell[-1] != _BRACKETS[cell[0]]:
        return None
    content = cell[1:-1]
    return content if cell[0] == "[" or content.strip()[:1] in ("'", '"') else None  # "(other)" may be a class


def _unquoted(text: str) -> str:
    try:
        return str(json.loads(text) if text[0] == '"' else ast.literal_eval(text)).strip()
    except (ValueError, SyntaxError) as error:
        raise CellError(f"{text[:80]} cannot be read ({error}).") from error


def _bare(part: str) -> str:
    """Return a word without spaces and quotes around it."""
    part = part.strip()
    return part[1:-1].strip() if len(part) > 1 and part[0] == part[-1] and part[0] in "'\"" else part


def _by_space(word: str, class_names: Collection[str]) -> list[str]:
    """Split a label at its spaces if each part is a class, or a number. Names of classes may have spaces."""
    parts = word.split()
    if word not in class_names and all(part in class_names or part.isdecimal() for part in parts):
        return parts
    if all(NUMBER.fullmatch(part) for part in parts):
        return parts
    return [word]


def joined_labels(labels: Iterable[Collection[str]]) -> dict[str, str]:
    """Return the labels that consist of other labels, such as ``cat/dog`` where ``cat`` and ``dog`` are labels, too,
    with the text between their first and their second part.

    Args:
        labels: the labels of each image.
    """
    names = {name for words in labels for name in words}
    found = {name: _joint(name, names) for name in sorted(names)}
    return {name: joint for name, joint in found.items() if joint}


def _joint(name: str, names: Collection[str]) -> str:
    """Return the first text in ``name`` that separates two or more of ``names``, or an empty string."""
    for joint in _JOINT.finditer(name):
        left, right = name[: joint.start()], name[joint.end() :]
        if left in names and (right in names or _joint(right, names)):
            return joint.group()
    return ""


def ambiguous_spaces(labels: Iterable[Collection[str]]) -> list[str]:
    """Return the labels whose spaces may separate labels: some of their words are in other labels, too."""
    names = {name for words in labels for name in words}
    shared = Counter(part for name in names for part in set(name.split()))
    return [name for name in sorted(names) if " " in name and any(shared[part] > 1 for part in name.split())]


class Answers:
    """The words for yes and no in the columns of classes.

    Args:
        cells: all cells of these columns.
        difficult: as for ``TableOptions``.

    Attributes:
        fit: whether more than half of the filled cells are words of one pair.
        numbers: whether more than half of the filled cells are numbers, which may be scores.
        problem: why the table as a whole cannot be read, or None.
    """

    def __init__(self, cells: Iterable[str], difficult: str | None = None) -> None:
        counts = Counter(map(_number, cells))
        filled = sum(count for word, count in counts.items() if word and word not in NULLS)
        found = {pair: sum(counts[word] for word in pair if word != "-") for pair in _PAIRS}
        found["1", "0"] += counts["-1"]
        self.yes, self.no = max(found, key=found.__getitem__)
        self.fit = 2 * found[self.yes, self.no] > filled
        self.numbers = 2 * sum(count for word, count in counts.items() if NUMBER.fullmatch(word)) > filled > 0
        self.values = dict.fromkeys(_EMPTY, False) | {self.yes: True, self.no: False}
        if self.yes == "1":
            self.values |= {"-1": False, "0": difficult == "present" and counts["-1"] > 0}
        if not counts[self.no]:  # a table of 1 and nan
            self.values |= dict.fromkeys(NULLS, False)
        self.problem = None
        if counts["-1"] and counts["0"] and self.yes == "1" and difficult is None:
            self.problem = (
                f"the columns hold 1, -1 and 0 ({counts['0']} cells). In VOC's lists, 0 means that all objects of the "
                "class are difficult; other programs use 0 or -1 for unknown. For VOC's lists, set "
                "data.difficult=present or data.difficult=absent. Else use 1 and 0 only"
            )

    def __getitem__(self, cell: str) -> bool:
        """Return whether the class is present.

        Raises:
            CellError: if the cell is not one of the words.
        """
        word = _number(cell)
        if word in self.values:
            return self.values[word]
        is_score = self.yes == "1" and NUMBER.fullmatch(word) and not word.lstrip("+-").isdecimal()
        score = " If this is a score, choose a threshold." if is_score else ""
        raise CellError(f"{cell!r} is neither {self.yes} nor {self.no}.{score}")


def _number(cell: str) -> str:
    """Return a cell in lower case, and a whole number without decimals and sign: ``1.0`` is ``1``."""
    word = cell.casefold()
    if NUMBER.fullmatch(word) and "%" not in word and "," not in word:
        value = float(word)
        return str(int(value)) if value in (-1, 0, 1) else word
    return word
