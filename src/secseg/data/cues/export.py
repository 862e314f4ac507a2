"""Cues in forms that other programs read: the official pickle, for other ports of SEC, and palette PNGs."""

from __future__ import annotations

import gzip
import pickle
import struct
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from secseg.data.classes import VOID
from secseg.data.cues.official import GRID, ID_LIST, official_ids, read_id_list
from secseg.data.cues.store import CueStore, resample
from secseg.data.masks import save_mask
from secseg.utils.errors import UserError, listing
from secseg.utils.files import atomic_write

# Positions in the memo of the pickle.
_RECONSTRUCT, _NDARRAY, _DTYPE = range(3)


def export_official(store: CueStore, path: Path) -> None:
    """Write cues in the layout of the official file, and the list of their numbers, ``input_list.txt``, next to it.

    The file is a pickle of protocol 2, gzipped if ``path`` ends in ``.gz``: a dict with ``<number>_labels`` (int64, the
    foreground classes) and ``<number>_cues`` (3 x N int64: class, row, column on 41 x 41, sorted). It uses the names of
    the official file, ``numpy.core.multiarray._reconstruct``, ``numpy.ndarray`` and ``numpy.dtype``. Python 2 reads it
    with ``pickle.load(file)``, Python 3 with ``pickle.load(file, encoding="latin1")``. If all images are on the
    official list, they keep their official numbers; else the number is the position in the store.

    Cues of another grid are brought to 41 x 41 by ``resample``, which may lose small regions.

    Raises:
        UserError: for an image id that does not fit into the list, a list of other images at the same place, or a
            folder that cannot be written.
    """
    official = {name: number for number, name in official_ids().items()}
    are_official = all(name in official for name in store.names)
    numbers = [official[name] if are_official else place for place, name in enumerate(store.names)]
    _write_list(path.with_name(ID_LIST), dict(zip(numbers, store.names, strict=True)))
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        if path.suffix == ".gz":  # without name and time, so equal cues make equal bytes
            with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
                packed.writelines(_pickled(store, numbers))
        else:
            file.writelines(_pickled(store, numbers))


def export_pngs(store: CueStore, folder: str | Path, palette: np.ndarray) -> None:
    """Write the cues of each image as ``<id>.png`` on the grid of the store: class numbers, 255 = no cue.

    An id with ``/`` lies in a subfolder. Labels are not written, so a label without a cue is lost.

    Args:
        store: the cues.
        folder: made if it is missing.
        palette: (256, 3) uint8, the RGB colour of each class number.

    Raises:
        UserError: if an id leads out of the folder, or the folder cannot be written.
    """
    outside = [name for name in store if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]
    if outside:
        raise UserError(f"These image ids lead out of the folder {folder}; rename the images:\n{listing(outside)}")
    for name in store:
        save_mask(store[name].map, Path(folder) / f"{name}.png", palette)


def _write_list(path: Path, ids: dict[int, str]) -> None:
    text = "".join(f"{name}.jpg {number}\n" for number, name in sorted(ids.items()))
    if path.is_file() and path.read_text("utf-8", errors="replace") != text:
        raise UserError(f"{path} lists other images, for other cues. Export into another folder.")
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
        try:
            carried = read_id_list(temporary)
        except UserError:
            carried = {}
        lost = [repr(name) for number, name in ids.items() if carried.get(number) != name]
        if lost:
            raise UserError(f"These image ids cannot be written into {ID_LIST}; rename the images:\n{listing(lost)}")


def _pickled(store: CueStore, numbers: list[int]) -> Iterator[bytes]:
    """The pickle in pieces, one per image.

    It is not written by Python's pickler: Python 3 would use a fourth name for bytes, and NumPy 2 the names of its own
    modules, which older releases do not have.
    """
    yield pickle.PROTO + b"\x02"
    for place, (module, name) in enumerate(
        [("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")]
    ):
        yield pickle.GLOBAL + f"{module}\n{name}\n".encode() + pickle.BINPUT + bytes([place]) + pickle.POP
    # numpy.dtype("i8", False, True) with its state, byte order first, replaces numpy.dtype itself in the memo.
    yield _get(_DTYPE) + _string(b"i8") + _int(0) + _int(1) + pickle.TUPLE3 + pickle.REDUCE
    state = (_int(3), _string(b"<"), 3 * pickle.NONE, _int(-1), _int(-1), _int(0))
    yield pickle.MARK + b"".join(state) + pickle.TUPLE + pickle.BUILD
    yield pickle.BINPUT + bytes([_DTYPE]) + pickle.POP
    yield pickle.EMPTY_DICT
    for name, number in zip(store.names, numbers, strict=True):
        cues = store[name]
        cue_map = resample(cues.map, GRID)
        rows, columns = np.nonzero(cue_map != VOID)
        classes = cue_map[rows, columns]
        cells = np.stack([classes, rows, columns])[:, np.argsort(classes, kind="stable")]
        for key, value in (("labels", np.array(cues.labels)), ("cues", cells)):
            yield _unicode(f"{number}_{key}") + _array(value.astype("<i8")) + pickle.SETITEM
    yield pickle.STOP


def _array(value: np.ndarray) -> bytes:
    """``_reconstruct(ndarray, (0,), "b")`` and the state of the array: version, shape, dtype, order, content."""
    empty = (
        _get(_RECONSTRUCT) + _get(_NDARRAY) + _int(0) + pickle.TUPLE1 + _string(b"b") + pickle.TUPLE3 + pickle.REDUCE
    )
    shape = pickle.MARK + b"".join(map(_int, value.shape)) + pickle.TUPLE
    content = _string(value.tobytes())
    return (
        empty + pickle.MARK + _int(1) + shape + _get(_DTYPE) + pickle.NEWFALSE + content + pickle.TUPLE + pickle.BUILD
    )


def _get(place: int) -> bytes:
    return pickle.BINGET + bytes([place])


def _int(value: int) -> bytes:
    return pickle.BININT + struct.pack("<i", value)


def _string(value: bytes) -> bytes:
    """A string of Python 2, which Python 3 decodes."""
    return pickle.BINSTRING + struct.pack("<i", len(value)) + value


def _unicode(value: str) -> bytes:
    data = value.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(data)) + data
