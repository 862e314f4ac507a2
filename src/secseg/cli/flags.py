"""Flags of the command line that Hydra does not have: usually settings that were typed as ``--key value``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from secseg.utils.errors import UserError

_FLAGS = "Flags are -m (sweep), --cfg job and --help; settings are key=value."


def refuse_unknown_flags(words: Sequence[str]) -> None:
    """Raise a UserError for an unknown flag, with the setting that is meant: ``--seed 1`` is ``seed=1``.

    Argparse would take a beginning for the whole flag: ``--experiment`` for ``--experimental-rerun``.
    """
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message[:1].upper()}{message[1:]}. {_FLAGS}")

    parser = get_args_parser()
    known = parser._option_string_actions
    unknown = {at: word for at, word in enumerate(words) if word[:1] == "-" and word.partition("=")[0] not in known}
    if unknown:
        settings = " ".join(filter(None, (_meant(word, words[at + 1 : at + 2]) for at, word in unknown.items())))
        hint = f"Settings have no dashes: {settings}" if settings else _FLAGS
        raise UserError(f"Unknown flags: {' '.join(unknown.values())}. {hint}")
    parser.error = refuse  # type: ignore[method-assign]
    parser.parse_args(list(words))


def _meant(word: str, after: Sequence[str]) -> str:
    """Return a flag as a setting, with its value from the next word; an empty text if it has no value."""
    key = word.lstrip("-")
    if "=" in key:
        return key
    value = after[0] if after else ""
    return f"{key}={value}" if key and value and value[0] not in "-+~" and "=" not in value else ""
