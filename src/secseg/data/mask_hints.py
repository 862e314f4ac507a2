"""The setting ``data.mask_values`` that fits the values or colours found in masks, for messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from secseg.data.classes import VOID, voc_palette
from secseg.data.mask_comparison import SMOOTHED
from secseg.data.masks import BLACK, WHITE, Value
from secseg.utils.errors import some

SMOOTH = 3
"""With more values than this for each class, masks were smoothed."""
ALIKE = 0.8
"""A value belongs to a class if it is in the mask exactly where the class is a label, for this share of the images."""


def values_hint(found: Mapping[str, Sequence[Value]], labels: Mapping[str, Sequence[int]], names: Sequence[str]) -> str:
    """Return a sentence with the setting that reads the masks, or with what they hold; an empty string without values,
    and for black and white masks of one class, whose errors have the setting.

    Args:
        found: values or RGB colours in the mask of each image.
        labels: class numbers of each image; empty if they are unknown.
        names: names of the classes, background first.
    """
    counts = Counter(value for values in found.values() for value in values)
    if not counts or (len(names) == 2 and {BLACK, WHITE}.issuperset(counts)):
        return ""
    if len(counts) > len(names):
        counts.pop(VOID, None)
        counts.pop(tuple(voc_palette()[VOID].tolist()), None)
    what = "values" if all(isinstance(value, int) for value in counts) else "colours"
    if len(counts) > SMOOTH * len(names):
        return f"These masks hold {len(counts)} {what} for {len(names)} classes. {SMOOTHED}"
    if len(counts) != len(names):
        held = some([_text(value) for value, _ in counts.most_common()])
        return f"These masks hold the {what} {held}, and there are {len(names)} classes with the background."
    background = max(counts, key=lambda value: (counts[value], -np.sum(value)))
    others = sorted(set(counts) - {background}, key=_text)
    order = _by_labels(others, found, labels, len(names))
    setting = f"data.mask_values=[{','.join(map(_text, [background, *(order or others)]))}]"
    titles = ", ".join(names)
    if order is None:
        return f"If these {what} stand for classes, set '{setting}', in the order of the classes: {titles}."
    return f"If these {what} stand for the classes {titles}, set '{setting}'. Its order follows the labels."


def _by_labels(
    values: Sequence[Value], found: Mapping[str, Sequence[Value]], labels: Mapping[str, Sequence[int]], classes: int
) -> list[Value] | None:
    """Return the value of each foreground class, so that values are in masks where the classes are labels; None if
    they are not."""
    images = [name for name in found if name in labels]
    if not images:
        return None
    shown = np.array([[value in found[name] for value in values] for name in images])
    labelled = np.array([[number in labels[name] for number in range(1, classes)] for name in images])
    agreement = (shown[:, :, None] == labelled[:, None, :]).mean(0)
    rows, columns = linear_sum_assignment(agreement, maximize=True)
    if agreement[rows, columns].min() < ALIKE:
        return None
    return [values[rows[np.flatnonzero(columns == number)[0]]] for number in range(classes - 1)]


def _text(value: Value) -> str:
    return str(value) if isinstance(value, int) else f"[{','.join(map(str, value))}]"
