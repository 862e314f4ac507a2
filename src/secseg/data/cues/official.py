"""The official cue file: a pickle of integer arrays, read without running anything that it asks for."""

from __future__ import annotations

import gzip
import io
import re
import warnings
import zlib
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from secseg.data.array_pickle import load_arrays
from secseg.data.classes import VOID
from secseg.data.cues.store import Cues, CueStore, join_cues
from secseg.utils.errors import UserError, listing
from secseg.utils.files import read_hashed
from secseg.utils.text import read_text

GRID = (41, 41)
ID_LIST = "input_list.txt"
"""The file next to the pickle that states the number of each image."""
_INTEGERS = re.compile(r"[iu][1248]")
_NUMBER = re.compile(r"\d{1,9}")
LIMIT = 2 * 1024**3
"""Most bytes that the file may unpack to; the official file unpacks to 104 MB."""
_RULE = "objects beat background, the smaller region wins"


def import_official(pickle_path: str | Path, id_list_path: str | Path | None = None) -> CueStore:
    """Read the official cue file (``localization_cues.pickle``, gzipped or not) into a store.

    Args:
        pickle_path: the file, with ``<number>_labels`` and ``<number>_cues`` on a 41 x 41 grid.
        id_list_path: the official list, lines of ``<id>.jpg <number>``. None for the order of the 10,582 images of the
            official file, which ships with the package.

    Of a grid cell with several classes, one class is kept: objects beat the background, and of two objects the one with
    the smaller region wins. The provenance states the number of such cells (none in the official file).

    Raises:
        UserError: if the file is missing or damaged, unpacks to more than ``LIMIT`` bytes, asks for anything but
            NumPy's integer arrays, or holds numbers, classes or positions that are not valid; if the id list does not
            fit.
    """
    (cues, overlaps), digest = read_hashed(Path(pickle_path), read_official)
    ids = official_ids() if id_list_path is None else read_id_list(id_list_path)
    unknown = [number for number in cues if number not in ids]
    if unknown or (id_list_path is None and len(cues) != len(ids)):
        where = id_list_path or "the official list of 10,582 ids that ships with the package"
        raise UserError(
            f"{pickle_path} contains {len(cues)} images, which do not fit {where}"
            f"{': no id for image ' + ', '.join(map(str, unknown[:10])) if unknown else ''}. "
            f"Put the {ID_LIST} that belongs to it next to it."
        )
    provenance = {
        "source": "official SEC cue file",
        "file": Path(pickle_path).name,
        "sha256": digest,
        "overlaps": overlaps,
        "overlap_rule": _RULE,
    }
    try:
        store = CueStore.from_dict({ids[number]: entry for number, entry in cues.items()}, provenance)
    except UserError as error:
        raise UserError(f"{pickle_path}: {error}") from error
    if overlaps:
        text = f"{pickle_path}: {overlaps} grid cells have more than one class; one is kept ({_RULE})."
        warnings.warn(text, stacklevel=2)
    return store


def read_official(path: Path) -> tuple[dict[int, Cues], int]:
    """Read ``localization_cues.pickle``, gzipped or not; errors as ``import_official``.

    Returns:
        The cues of each image by its number, sorted, on 41 x 41; the number of grid cells that had more than one class.
    """
    labels, cells = _split(path, _load(path, _read(path)))
    _check(path, labels, cells)
    cues, overlaps = {}, 0
    for number in sorted(labels):
        classes, rows, columns = cells[number].astype(np.int64)
        given = np.zeros((classes.max(initial=0) + 1, *GRID), dtype=bool)
        given[classes, rows, columns] = True
        overlaps += int((given.sum(0) > 1).sum())
        cues[number] = Cues(tuple(np.unique(labels[number]).tolist()), join_cues(given[1:], given[0]))
    return cues, overlaps


def official_ids() -> dict[int, str]:
    """Return the image id of each number in the official cue file (10,582)."""
    lists = files("secseg.data") / "lists"
    names = (lists / "train_aug.txt").read_text("ascii").split()
    # The official order is a shuffle of train_aug.txt: positions in it, two bytes each.
    order = np.frombuffer((lists / "official_order.u2").read_bytes(), dtype="<u2")
    return {number: names[position] for number, position in enumerate(order)}


def read_id_list(path: str | Path) -> dict[int, str]:
    """Read lines of ``<id>.jpg <number>`` into a map from number to id.

    Raises:
        UserError: if the file cannot be read, or a line has another form or repeats a number or id.
    """
    try:
        lines = read_text(Path(path)).splitlines()
    except (OSError, UserError) as error:
        raise UserError(f"Cannot read the id list {path}: {error}") from error
    ids: dict[int, str] = {}
    wrong = []
    for count, line in enumerate(lines, 1):
        match line.strip().rsplit(maxsplit=1):
            case []:
                continue
            case [file, number] if _NUMBER.fullmatch(number) and int(number) not in ids and PurePosixPath(file).name:
                ids[int(number)] = str(PurePosixPath(file.replace("\\", "/")).with_suffix(""))
            case _:
                wrong.append(f"line {count}: {line[:80]!r}")
    if wrong or len(set(ids.values())) != len(ids):
        wrong = wrong or ["an image id is listed twice"]
        raise UserError(f"{path} is not a list of '<id>.jpg <number>' lines, each once:\n{listing(wrong)}")
    return ids


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            source = gzip.GzipFile(fileobj=file) if packed else file
            data = io.BytesIO()
            while data.tell() <= LIMIT and (piece := source.read(2**20)):
                data.write(piece)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"The cue file {path} is truncated or damaged ({error}). Download it again.") from error
    except OSError as error:
        raise UserError(f"Cannot read the cue file {path}: {error.strerror}.") from error
    if data.tell() > LIMIT:
        raise UserError(f"The cue file {path} unpacks to more than {LIMIT:,} bytes, so it is not the official one.")
    return data.getvalue()


def _load(path: Path, data: bytes) -> dict[Any, Any]:
    try:
        content = load_arrays(data, _INTEGERS, "cues")
    except UserError as error:
        raise UserError(f"The cue file {path} {error}. Download the official file again.") from error
    except Exception as error:  # a damaged pickle can fail in any way
        raise UserError(
            f"The cue file {path} is truncated, damaged or not a pickle of cues ({error}). Download it again."
        ) from error
    if not isinstance(content, dict) or not content:
        raise UserError(f"The cue file {path} contains a {type(content).__name__}, not a dict of labels and cues.")
    return content


def _split(path: Path, content: dict[Any, Any]) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    parts: dict[str, dict[int, np.ndarray]] = {"labels": {}, "cues": {}}
    wrong = []
    for key, entry in content.items():
        found = re.fullmatch(rf"({_NUMBER.pattern})_(labels|cues)", key) if isinstance(key, str) else None
        value = getattr(entry, "value", None)
        if found is None or value is None:
            wrong.append(f"{str(key)[:60]!r}: {type(entry).__name__.strip('_').lower()}")
        else:
            parts[found[2]][int(found[1])] = value
    lonely = sorted(parts["labels"].keys() ^ parts["cues"].keys())
    wrong += [f"image {number}: has either labels or cues, not both" for number in lonely]
    if wrong:
        raise UserError(
            f"{path} must contain arrays '<number>_labels' and '<number>_cues'; these do not fit:\n{listing(wrong)}"
        )
    return parts["labels"], parts["cues"]


def _check(path: Path, labels: dict[int, np.ndarray], cells: dict[int, np.ndarray]) -> None:
    """Check that labels are foreground classes, and that cues are classes (3 x N: class, row, column) on the grid."""
    wrong: dict[str, list[str]] = {
        "positions outside the 41 x 41 grid (are the cues of another grid?)": [],
        f"classes outside 0..{VOID - 1}": [],
    }
    for number in sorted(labels):
        values = np.unique(labels[number]).tolist()
        if values and not (values[0] > 0 and values[-1] < VOID):
            raise UserError(f"{path}: image {number} has labels {values[:20]}; foreground classes are 1..254.")
        shape = cells[number].shape
        if len(shape) != 2 or shape[0] != 3:
            raise UserError(f"{path}: the cues of image {number} have shape {shape}, not 3 x N (class, row, column).")
        classes, positions = cells[number][0], cells[number][1:]
        illegal = (positions < 0) | (positions >= np.array(GRID)[:, None]), (classes < 0) | (classes >= VOID)
        for found, images in zip(illegal, wrong.values(), strict=True):
            images += [f"image {number}"] if found.any() else []
    for what, images in wrong.items():
        if images:
            raise UserError(f"{path} has {what} in:\n{listing(images)}")
