"""The words of a command line, in the form that Hydra reads: flags, then settings; paths are taken literally."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from secseg.utils.errors import UserError, nearest
from secseg.utils.quoting import quote_value

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

# Settings whose value is a path, a name or a title: no number, list or sweep.
_OF_DATA = ("root", "images", "labels", "cues", "masks", "mask_folder", "feature_cache", "train_split", "val_split")
TEXTS = frozenset(
    {
        *(f"data.{key}" for key in _OF_DATA),
        *("root", "images", "labels", "cues", "masks", "ckpt", "ckpt_path", "own_cues", "cue_file", "against"),
        *("out", "run_dir", "hydra.run.dir", "hydra.sweep.dir", "archives", "caffe", "runs", "name", "title"),
        *("baseline", "split", "logger.wandb.name", "logger.wandb.group"),
    }
)
LISTS = ("runs", "images")
"""Settings of ``TEXTS`` that can be lists: ``runs=[a,b]``."""
NUMBERS = {"report": ("images",)}
"""Settings that only have the name of one of ``TEXTS``, by command."""
_SETTING = re.compile(r"(\+{0,2})([\w.]+)=(.*)", re.DOTALL)
_ESCAPE = re.compile(r"\\[()\[\]{}:=, \t]")  # Hydra's, in a value without quotes


def hydra_words(words: Sequence[str], name: str) -> list[str]:
    """Return the words of the command ``name`` for Hydra.

    Its parser wants all settings next to each other: ``loss=seed -m seed=0,1`` would fail. It would also read a path
    such as ``/data/a=b``, ``/data/Äpfel`` or ``2012`` as something else than a text, or not at all.

    Raises:
        UserError: for an option without a file of an optional group, which Hydra would leave out silently.
    """
    _refuse_missing_options(words, name)
    sweep = bool({"-m", "--multirun"} & set(words))
    return [_literal(word, name, sweep) for word in sorted(words, key=_is_setting)]


def _refuse_missing_options(words: Sequence[str], name: str) -> None:
    from secseg.utils.config import config_dir

    text = (config_dir() / f"{name}.yaml").read_text("utf-8")
    if any("hydra.searchpath=" in word for word in words):  # a group may have options elsewhere
        return
    for group in re.findall(r"^  - optional (\w+):", text, re.MULTILINE):
        folder = config_dir() / group
        options = sorted(path.stem for path in folder.glob("*.yaml"))
        given = [word.partition("=")[2] for word in words if word.startswith(f"{group}=")]
        for option in (option for value in given for option in value.split(",")):
            if option not in (*options, "null"):
                known = f"The options are {', '.join(options)}." if options else "It has no options."
                raise UserError(
                    f"{group}={option}: there is no file {folder / option}.yaml.{nearest(option, options)} {known}"
                )


def _is_setting(word: str) -> bool:
    return word.startswith(("+", "~")) or ("=" in word and not word.startswith("-"))


def _literal(word: str, name: str, sweep: bool) -> str:
    """Return a setting so that Hydra reads its value literally, if it is a text and is not written for Hydra already:
    with quotes, with escapes, with ``${...}``, or in a sweep as several values."""
    found = _SETTING.fullmatch(word)
    if found is None:
        return word
    sign, key, value = found.groups()
    if not (key in TEXTS or key.endswith(".trunk.weights")) or key in NUMBERS.get(name, ()):
        return word
    quoted = len(value) > 1 and value[0] in "'\"" and value[-1] == value[0]
    if not value or value.lower() == "null" or quoted or "${" in value or quote_value(value) == value:
        return word
    parsed = _parsed(f"{key}={value}")
    read = None if parsed is None else parsed.value()
    varies = sweep and parsed is not None and parsed.is_sweep_override()
    if read is not None and (read == value or _ESCAPE.search(value) or varies):
        return word
    if key in LISTS and value[0] == "[" and value[-1] == "]":
        return word if isinstance(read, list) else f"{sign}{key}=[{','.join(map(quote_value, value[1:-1].split(',')))}]"
    return f"{sign}{key}={quote_value(value)}"


def _parsed(word: str) -> Override | None:
    """Return a setting as Hydra reads it; None if it cannot."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(word)
    except HydraException:
        return None
