"""Names of classes that may be one class, written in two ways."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations

from secseg.data.label_entries import BACKGROUND, LabelTable
from secseg.utils.text import count

SHORTEST = 4
"""Fewest letters of names that one letter does not make another word: not car and cat."""
RARE = 0.1
"""A name that differs in one letter is taken for a misspelling up to this share of the images of the other name."""


def same_names(names: Sequence[str], table: LabelTable, given: bool) -> Iterator[str]:
    """Yield a problem if classes are listed twice, or differ only in case and, unless the user gave them, in spaces.

    Args:
        names: the classes without background.
        table: the labels.
        given: whether the user named the classes.
    """
    forms = [name.casefold() if given else re.sub(r"[\s_-]+", " ", name.casefold()) for name in names]
    counts = Counter(forms)
    alike = [name for name, form in zip(names, forms, strict=True) if counts[form] > 1 or form == BACKGROUND != name]
    if alike:
        ways = "upper and lower case" if given else "upper and lower case, spaces, hyphens or underscores"
        remedy = "Name each class once in data.classes" if given else "Write each class in one way in the labels"
        yield (
            f"Classes that are listed twice, or differ only in {ways}: {'; '.join(_use(one, table) for one in alike)}. "
            f"{remedy}."
        )


def similar_names(names: Sequence[str], table: LabelTable) -> Iterator[str]:
    """Yield a warning if names look like one class: a plural, or a rare name that differs in one letter.

    Arguments as for ``same_names``.
    """
    counts = Counter(word for words in table.words.values() for word in words)
    pairs = []
    for pair in combinations(names, 2):
        rare, common = sorted(pair, key=lambda name: (counts[name], name))
        first, second = rare.casefold(), common.casefold()
        misspelt = counts[rare] <= RARE * counts[common] and min(map(len, pair)) >= SHORTEST
        if _is_plural(first, second) or _is_plural(second, first) or (misspelt and _one_letter(first, second)):
            pairs.append(f"{_use(rare, table)} and {_use(common, table)}")
    if pairs:
        yield (
            f"Classes with similar names: {'; '.join(pairs[:10])}{'; ...' if len(pairs) > 10 else ''}. If they are one "
            "class, correct the labels. If not, list all classes with data.classes=[...]."
        )


def _use(name: str, table: LabelTable) -> str:
    """Return a name with the number of its images, and the place of the first."""
    having = [image for image, words in table.words.items() if name in words]
    place = f", first {having[0]}, {table.places[having[0]]}" if having else ""
    return f"{name!r} ({count(len(having), 'image')}{place})"


def _is_plural(one: str, several: str) -> bool:
    return several in (f"{one}s", f"{one}es") or (one.endswith("y") and several == f"{one[:-1]}ies")


def _one_letter(first: str, second: str) -> bool:
    """Return whether one letter is added, left out or another one. Another digit is another class."""
    short, long = sorted((first, second), key=len)
    same = next((at for at, (one, other) in enumerate(zip(short, long, strict=False)) if one != other), len(short))
    if len(short) == len(long):
        return short[same + 1 :] == long[same + 1 :] and not f"{short[same]}{long[same]}".isdigit()
    return short[same:] == long[same + 1 :] and not long[same].isdigit()
