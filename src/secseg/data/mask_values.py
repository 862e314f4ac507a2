"""The setting ``data.mask_values``: how the pixels of a mask become class numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from secseg.data.classes import VOID
from secseg.utils.errors import UserError

MASK_VALUES = ("auto", "numbers", "colours", "binary")
"""Ways without a table.

- ``auto``: by number; by colour where a mask has the colours of the classes, but under other numbers or as RGB.
- ``numbers``: by number, whatever the palette shows.
- ``colours``: by colour, where the mask has a palette or is RGB.
- ``binary``: black is the background, white the only class: 0 and 255, or 0 and 1.
"""
MaskValues = str | tuple[Any, ...]
"""A way, or a table: the value in the masks, an int, or the RGB colour, three ints, of each class, background first."""


def as_mask_values(values: Any) -> MaskValues:
    """Return the setting, plain, as text or tuples."""
    if isinstance(values, list):
        return tuple(tuple(value) if isinstance(value, list) else value for value in values)
    return values


def check_mask_values(values: Any) -> Iterator[str]:
    """Yield a problem if ``values`` is neither one of ``MASK_VALUES`` nor a table."""
    if isinstance(values, str) and values in MASK_VALUES:
        return
    if isinstance(values, list) and values and (all(map(_is_value, values)) or all(map(_is_colour, values))):
        if len(set(map(str, values))) < len(values):
            yield f"data.mask_values={values}: two classes have the same value."
        return
    yield (
        f"data.mask_values={values}: give one of {', '.join(MASK_VALUES)}, or a list with the value of each class in "
        "the masks, background first, such as [0,128,200], or with the colour of each, such as [[0,0,0],[255,0,0]]."
    )


def fit_classes(values: MaskValues, class_names: Sequence[str]) -> None:
    """Raise a UserError if ``values`` does not fit the number of the classes."""
    count = len(class_names)
    if values == "binary" and count != 2:
        raise UserError(
            f"data.mask_values=binary is for one class, and there are {count - 1}. Save masks of class numbers, or "
            "list the value of each class in data.mask_values."
        )
    if not isinstance(values, str) and len(values) != count:
        raise UserError(
            f"data.mask_values lists {len(values)} values, and there are {count} classes: "
            f"{', '.join(class_names[:10])}{', ...' if count > 10 else ''}. Give one for each, in this order."
        )


def own_masks(values: MaskValues) -> MaskValues:
    """Return how masks that predictions are saved in are read: a table is for the masks of the data set alone."""
    return values if isinstance(values, str) else "auto"


def is_value_table(values: MaskValues) -> bool:
    """Return whether ``values`` lists the value of each class."""
    return not isinstance(values, str) and isinstance(values[0], int)


def is_colour_table(values: MaskValues) -> bool:
    """Return whether ``values`` lists the colour of each class."""
    return not isinstance(values, str) and isinstance(values[0], tuple)


def class_of_values(values: MaskValues) -> dict[int, int]:
    """Return the class number of each value in masks, by a table of values. 255 is void unless a class has it."""
    return {VOID: VOID} | {int(value): number for number, value in enumerate(values)}


def _is_value(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_colour(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(type(one) is int and 0 <= one <= 255 for one in value)
