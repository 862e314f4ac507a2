"""Errors that a user can cause, and parts of messages that help to fix them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from importlib.util import find_spec


class UserError(ValueError):
    """An error that the user can fix. The message says what is wrong, where, and what to do.

    The commands print the message without a traceback, and end with exit code 1.

    Args:
        problem: what is wrong, and where.
        remedy: what to do, if several errors of a list can share it (see ``problem_listing``).
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(f"{problem} {remedy}" if remedy else problem)
        self.problem, self.remedy = problem, remedy


class Pruned(Exception):
    """Ends the training of a trial that the search has pruned. The message says at which step, and with which score."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return ``" Did you mean 'a' or 'b'?"`` with the choices closest to ``word``, or an empty string. Upper and lower
    case count as equal."""
    return did_you_mean(closest(word, choices))


def closest(word: str, choices: Iterable[str]) -> list[str]:
    """Return the at most three choices closest to ``word``, as ``nearest`` names them."""
    folded: dict[str, list[str]] = {}
    for choice in choices:
        folded.setdefault(choice.casefold(), []).append(choice)
    matches = get_close_matches(word.casefold(), list(folded), n=3, cutoff=0.5)
    return [choice for match in matches for choice in folded[match]][:3]


def did_you_mean(close: Sequence[str]) -> str:
    """Return the question of ``nearest`` for these choices."""
    return f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""


def listing(items: Sequence[object], most: int = 10) -> str:
    """Return the first ``most`` items, one per indented line, and the number of the others."""
    lines = [f"  {item}" for item in items[:most]]
    if len(items) > most:
        lines.append(f"  ... and {len(items) - most} more")
    return "\n".join(lines)


def problem_listing(errors: Sequence[UserError], most: int = 10) -> str:
    """Return the ``listing`` of the errors, and below it each remedy of the listed ones, once."""
    remedies = dict.fromkeys(error.remedy for error in errors[:most] if error.remedy)
    return "\n".join([listing([error.problem for error in errors], most), *remedies])


def some(items: Sequence[object], most: int = 10) -> str:
    """Return the first ``most`` items in one line, and the number of the others."""
    others = [f"and {len(items) - most} more"] if len(items) > most else []
    return ", ".join([*map(str, items[:most]), *others])


def require_package(what: str, package: str, install: str) -> None:
    """Raise a UserError if ``package``, which ``what`` needs, is missing. It names ``install``, the words for pip."""
    if find_spec(package) is None:
        raise UserError(f"{what} needs a package that is missing. Install it: pip install {install}")
