"""Errors that a user can cause, and the words that help to mend them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from importlib.util import find_spec


class UserError(ValueError):
    """Something the user can mend. The message says what is wrong, where, and what to do.

    The commands print it alone, without a traceback, and end with exit code 1.
    """


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return ``" Did you mean 'a' or 'b'?"`` for the choices closest to ``word``, or an empty string."""
    close = get_close_matches(word, list(choices), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""


def listing(items: Sequence[object], most: int = 10) -> str:
    """Return the first ``most`` items, one an indented line, and how many more there are."""
    lines = [f"  {item}" for item in items[:most]]
    if len(items) > most:
        lines.append(f"  ... and {len(items) - most} more")
    return "\n".join(lines)


def require_package(what: str, package: str, install: str) -> None:
    """Raise a UserError that says how to ``install`` ``package``, which ``what`` needs, where it is missing."""
    if find_spec(package) is None:
        raise UserError(f"{what} needs a package that is missing. Install it: pip install {install}")
