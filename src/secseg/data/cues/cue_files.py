"""Cue files: found, opened and imported, whoever wrote them."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

from secseg.data.cues.official import ID_LIST, official_ids, read_id_list, read_official
from secseg.data.cues.png import import_pngs
from secseg.data.cues.store import Cues, CueStore, neighbours, pad_labels, resample
from secseg.utils.errors import UserError
from secseg.utils.files import sha256, user_cache

__all__ = ["CueStore", "Cues", "find_cues", "import_official", "open_cues", "resample"]

CUE_FILES = ("cues.safetensors", "localization_cues.pickle", "localization_cues.pickle.gz")


def import_official(pickle_path: str | Path, id_list_path: str | Path | None = None) -> CueStore:
    """Read the official cue file (``localization_cues.pickle``, gzipped or not) into a store keyed by image id.

    Args:
        pickle_path: the file, with ``<number>_labels`` and ``<number>_cues`` on a 41 x 41 grid.
        id_list_path: the official list, lines of ``<id>.jpg <number>``. If None, the order that ships with the
            package, which is that of the 10,582 images of the official file.

    A location with several classes keeps one: objects beat the background, and of two objects the one with the
    smaller region wins. How many there were is in the provenance (in the official file none).

    Raises:
        UserError: if the file is damaged, asks for anything but NumPy's integer arrays, or holds numbers, classes
            or locations that cannot be; if the id list does not fit.
    """
    official = read_official(pickle_path)
    ids = official_ids() if id_list_path is None else read_id_list(id_list_path)
    unknown = [number for number in official.numbers if number not in ids]
    if unknown or (id_list_path is None and len(official.numbers) != len(ids)):
        where = id_list_path or "the official list of 10,582 ids that ships with the package"
        raise UserError(
            f"{pickle_path} holds {len(official.numbers)} images, which do not fit {where}"
            f"{': no id for image ' + ', '.join(map(str, unknown[:10])) if unknown else ''}. "
            f"Put the {ID_LIST} that belongs to it beside it."
        )
    provenance = {
        "source": "official SEC cue file",
        "file": Path(pickle_path).name,
        "sha256": sha256(pickle_path),
        "overlaps": official.overlaps,
        "overlap_rule": "objects beat background, the smaller region wins",
    }
    store = CueStore(
        [ids[number] for number in official.numbers], official.maps, pad_labels(official.labels), provenance
    )
    try:
        store.check_labels()
    except UserError as error:
        raise UserError(f"{pickle_path}: {error}") from error
    if official.overlaps:
        warnings.warn(
            f"{pickle_path}: {official.overlaps} locations have more than one class; each keeps one "
            f"({provenance['overlap_rule']}).",
            stacklevel=2,
        )
    return store


def find_cues(root: str | Path) -> Path | None:
    """Return the cue file in ``root`` or up to two folders above it; ours before the official one."""
    root = Path(root).expanduser().absolute()
    for folder in (root, *root.parents[:2]):
        for name in CUE_FILES:
            if (folder / name).is_file():
                return folder / name
    return None


def open_cues(path: str | Path) -> CueStore:
    """Open a cue file of ours, a folder of PNGs, or the official pickle through its import, which is kept in the user's
    cache.

    The official file's id list is looked for beside it (``input_list.txt``), else the shipped one is taken.

    Raises:
        UserError: as ``CueStore.load``, ``import_pngs`` and ``import_official`` do.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return import_pngs(path)
    if path.suffix not in {".gz", ".pickle", ".pkl"}:
        return CueStore.load(path)
    if not path.is_file():
        raise UserError(f"There is no cue file at {path}.{neighbours(path)}")
    beside = path.with_name(ID_LIST)
    id_list = beside if beside.is_file() else None
    key = hashlib.sha256(f"{sha256(path)} {sha256(id_list) if id_list else 'shipped'}".encode()).hexdigest()
    cached = user_cache() / "cues" / f"{key}.safetensors"
    if cached.is_file():
        try:
            return CueStore.load(cached)
        except UserError:
            pass  # damaged: the import below writes it anew
    store = import_official(path, id_list)
    try:
        store.save(cached)
    except UserError as error:
        warnings.warn(f"The imported cues are not kept: {error}", stacklevel=2)
    return store
