"""Photographs in a folder and its subfolders, and the names that they go by."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from secseg.utils.errors import UserError, listing

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""Files that are taken from a folder; upper case counts as lower case."""
KINDS = ", ".join(SUFFIXES)


def is_photograph(name: str) -> bool:
    """Whether a file of this name is taken for a photograph; hidden ones are not."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def photographs_below(folder: Path, passed_over: Callable[[Path], bool] = lambda _: False) -> list[tuple[str, Path]]:
    """Return name and file of the photographs in a folder and its subfolders; the name is the path below the folder,
    with ``/``, without suffix.

    Args:
        folder: where to look; hidden subfolders are passed over.
        passed_over: tells other subfolders that are.

    Raises:
        UserError: if a folder may not be read, or with all names that are not UTF-8.
    """

    def refuse(error: OSError) -> None:
        raise UserError(f"Cannot look into the folder {error.filename}: {error.strerror}.") from error

    found: list[Path] = []
    for place, subfolders, files in os.walk(folder, onerror=refuse):
        subfolders[:] = [name for name in subfolders if not name.startswith(".") and not passed_over(Path(place, name))]
        found += [Path(place, name) for name in files if is_photograph(name)]
    if odd := [str(path).encode("utf-8", "backslashreplace").decode() for path in found if not _is_text(str(path))]:
        raise UserError(f"{len(odd)} photographs have names that are not UTF-8. Rename them:\n{listing(odd)}")
    return [(path.relative_to(folder).with_suffix("").as_posix(), path) for path in found]


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def name_of(cell: str) -> str:
    """Return the name of a photograph that a table calls ``cell``: with or without suffix, with ``/`` or ``\\``."""
    path = PurePosixPath(cell.strip().replace("\\", "/"))
    return str(path.with_suffix("") if path.suffix.lower() in SUFFIXES else path)


def clashes(pairs: Iterable[tuple[str, Path]]) -> dict[str, list[Path]]:
    """Return, by case-folded name, the files that would share it: many file systems do not tell upper from lower
    case."""
    by_name = defaultdict(list)
    for name, path in pairs:
        by_name[name.casefold()].append(path)
    return {name: sorted(paths) for name, paths in by_name.items() if len(paths) > 1}
