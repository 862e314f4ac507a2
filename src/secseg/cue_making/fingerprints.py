"""What a stage depends on: digests of files, and what has changed since, in words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secseg.utils.config import flatten
from secseg.utils.errors import UserError
from secseg.utils.files import sha256
from secseg.utils.parallel import results_of

STARTED = "started.json"
"""In a stage's folder: what the files in it are made from, also while it is not through."""
MOST_TOLD = 8
"""Most changes that are told of one stage."""


def fingerprint(value: Any) -> str:
    """Return the SHA-256, in hexadecimal, of a value that JSON can hold; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def digest(path: Path) -> str | None:
    """Return the SHA-256 of a file's content, or of names and contents of all files in a folder; None where there is
    nothing. Hidden files and the note of what a stage started with do not count."""
    if path.is_file():
        return sha256(path)
    if not path.is_dir():
        return None
    files = {file.relative_to(path): file for file in path.rglob("*") if file.is_file() and file.name != STARTED}
    visible = {place: file for place, file in files.items() if not any(part.startswith(".") for part in place.parts)}
    return fingerprint({place.as_posix(): sha256(file) for place, file in visible.items()}) if visible else None


def file_digests(files: Mapping[str, Path]) -> dict[str, str]:
    """Return the first 32 digits of the SHA-256 of each file's content.

    Raises:
        UserError: where one cannot be read.
    """

    def one(name: str) -> str:
        try:
            return sha256(files[name])[:32]
        except OSError as error:
            raise UserError(f"Cannot read {files[name]}: {error.strerror}.") from error

    return dict(results_of(one, files))


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what differs between two inputs of a stage, in words: the first few."""
    told: list[str] = []
    for key in [*now, *(key for key in before if key not in now)]:
        old, new = before.get(key), now.get(key)
        if old == new:
            continue
        if old is None or new is None:
            told.append(f"{key}: {'no longer read' if new is None else 'read now'}")
        elif key in ("images", "labels", "masks"):
            told.append(f"{key}: {_by_image(old, new)}")
        elif isinstance(old, Mapping) and isinstance(new, Mapping):
            flat, flat_now = flatten(old), flatten(new)
            names = [name for name in {**flat_now, **flat} if flat.get(name) != flat_now.get(name)]
            told += [f"{key}.{name}: {flat.get(name)} -> {flat_now.get(name)}" for name in names]
        else:
            told.append(f"{key} changed")
    return told[:MOST_TOLD] + ["..."] * (len(told) > MOST_TOLD)


def _by_image(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    groups = {
        "new": [name for name in new if name not in old],
        "gone": [name for name in old if name not in new],
        "changed": [name for name in new if name in old and old[name] != new[name]],
    }
    return ", ".join(
        f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for what, names in groups.items()
        if names
    )
