"""Checks of settings: each function yields the problem with one setting as a message, or nothing.

A caller collects the problems of all settings and passes them to ``refuse``, which raises one error for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from secseg.utils.errors import UserError, nearest


def is_number(value: Any) -> bool:
    """Return whether ``value`` is a finite number, of Python or NumPy. A bool is not a number here."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def check_number(
    key: str,
    value: Any,
    least: float | None = None,
    *,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    null: bool = False,
    note: str = "",
) -> Iterator[str]:
    """Yield a message if ``value`` is not a finite number within the bounds.

    Args:
        key: the setting's name on the command line.
        value: its value.
        least, most: bounds that are legal values themselves.
        above, below: bounds that are not.
        null: whether None is legal, too.
        note: what some values mean; follows the legal values in brackets.
    """
    if null and value is None:
        return
    inside = is_number(value) and not (
        (least is not None and value < least)
        or (above is not None and value <= above)
        or (most is not None and value > most)
        or (below is not None and value >= below)
    )
    if not inside:
        interval = _interval(least, above, most, below)
        yield f"{key}={value}: give a number{interval}{', or null' if null else ''}{f' ({note})' if note else ''}."


def check_numbers(
    key: str,
    values: Any,
    least: float | None = None,
    *,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> Iterator[str]:
    """Yield a message if ``values`` is not a list of one or more numbers within the bounds (see ``check_number``)."""
    fits = isinstance(values, Sequence) and not isinstance(values, str) and len(values) > 0
    if not fits or any(
        problem for one in values for problem in check_number(key, one, least, above=above, most=most, below=below)
    ):
        yield f"{key}={list(values) if fits else values}: give a list of numbers{_interval(least, above, most, below)}."


def check_whole(key: str, value: Any, least: int, *, null: bool = False, note: str = "") -> Iterator[str]:
    """Yield a message if ``value`` is not a whole number of at least ``least``. Arguments as for ``check_number``."""
    if null and value is None:
        return
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        or_null = ", or null" if null else ""
        yield f"{key}={value}: give a whole number of at least {least}{or_null}{f' ({note})' if note else ''}."


def check_text(key: str, value: Any, *, null: bool = False, note: str = "") -> Iterator[str]:
    """Yield a message if ``value`` is not a text of at least one character. Arguments as for ``check_number``."""
    if not (isinstance(value, str) and value) and not (null and value is None):
        yield f"{key}={value}: give a text{', or null' if null else ''}{f' ({note})' if note else ''}."


def check_choice(key: str, value: Any, legal: Iterable[Any]) -> Iterator[str]:
    """Yield a message with the nearest legal values if ``value`` is not one of ``legal``; None is written ``null``."""
    legal = list(legal)
    if value not in legal:
        words = ["null" if one is None else str(one) for one in legal]
        yield f"{key}={value}: give one of {', '.join(words)}.{nearest(str(value), words)}"


def check_flag(key: str, value: Any) -> Iterator[str]:
    """Yield a message if ``value`` is neither True nor False."""
    if not isinstance(value, bool):
        yield f"{key}={value}: give true or false."


def check_options(config: Mapping[str, Any], groups: Sequence[str]) -> Iterator[str]:
    """Yield a message for each config group of which ``config`` has no option."""
    for group in groups:
        if not isinstance(config.get(group), Mapping):
            yield f"{group} has no option chosen: give {group}=<option>."


def refuse(problems: Iterable[str]) -> None:
    """Raise a UserError with all ``problems``, a line each, if there are any."""
    if lines := list(problems):
        raise UserError("\n".join(lines))


def _interval(least: float | None, above: float | None, most: float | None, below: float | None) -> str:
    """Return `` of at least 0``, `` above 0``, or both bounds as an interval: `` in [0, 1)``."""
    if most is None and below is None:
        return f" of at least {least:g}" if least is not None else f" above {above:g}" if above is not None else ""
    low = f"[{least:g}" if least is not None else f"({above:g}"
    high = f"{most:g}]" if most is not None else f"{below:g})"
    return f" in {low}, {high}"
