"""Cue files of every form, found and opened; folders of PNGs."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from secseg.data.classes import VOID
from secseg.data.cues.official import ID_LIST, import_official
from secseg.data.cues.store import Cues, CueStore, neighbours
from secseg.data.images import read_mask
from secseg.utils.errors import UserError, listing
from secseg.utils.files import sha256, user_cache

CUE_FILES = ("cues.safetensors", "localization_cues.pickle", "localization_cues.pickle.gz")


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


def import_pngs(folder: str | Path, labels: Mapping[str, Sequence[int]] | None = None) -> CueStore:
    """Read a folder of palette or grey PNGs, and of folders within, into a store; ids are the paths without ``.png``.

    Args:
        folder: the maps, all of one size: class numbers, 255 = no cue. Hidden files are passed over.
        labels: foreground classes of each image; None for those in its map.

    Raises:
        UserError: if there is no such folder or no PNG in it, a file cannot be read, maps are of several sizes, an
            image has no labels, or a map holds a class that is not among them.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"There is no folder of cues at {folder}.")
    paths = {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.png"))}
    paths = {name: path for name, path in paths.items() if not any(part[0] == "." for part in name.split("/"))}
    if not paths:
        raise UserError(
            f"{folder} holds no PNGs. Give a cue file, or a folder with a PNG an image: class numbers, {VOID} = no cue."
        )
    missing = [name for name in paths if labels is not None and name not in labels]
    if missing:
        raise UserError(f"{len(missing)} of {len(paths)} cue maps in {folder} have no labels:\n{listing(missing)}")
    cues = {}
    for name, path in paths.items():
        cue_map = read_mask(path, VOID)
        present = np.flatnonzero(np.bincount(cue_map.reshape(-1), minlength=256)[:VOID])
        own = [int(number) for number in present if number] if labels is None else labels[name]
        cues[name] = Cues(tuple(own), cue_map)
    return CueStore.from_dict(cues, {"source": "PNGs", "folder": folder.name})
