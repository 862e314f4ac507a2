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
    """Return the cue file in ``root`` or up to two folders above it, ours before the official one; None without one."""
    root = Path(root).expanduser().absolute()
    for folder in (root, *root.parents[:2]):
        for name in CUE_FILES:
            if (folder / name).is_file():
                return folder / name
    return None


def open_cues(path: str | Path) -> CueStore:
    """Open our cue file, the official pickle or a folder of PNGs. An imported pickle is kept in the user's cache.

    The official file needs its id list: ``input_list.txt`` next to it, else the one that ships with the package.

    Raises:
        UserError: as ``CueStore.load``, ``import_pngs`` and ``import_official`` do.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return import_pngs(path)
    if path.suffix not in {".gz", ".pickle", ".pkl"}:
        return CueStore.load(path)
    if not path.is_file():
        raise UserError(f"The cue file {path} does not exist.{neighbours(path)}")
    own_list = path.with_name(ID_LIST)
    id_list = own_list if own_list.is_file() else None
    key = hashlib.sha256(f"{sha256(path)} {sha256(id_list) if id_list else 'shipped'}".encode()).hexdigest()
    cached = user_cache() / "cues" / f"{key}.safetensors"
    if cached.is_file():
        try:
            return CueStore.load(cached)
        except UserError:
            pass  # damaged: the import below writes it again
    store = import_official(path, id_list)
    try:
        store.save(cached)
    except UserError as error:
        warnings.warn(f"The imported cues are not cached: {error}", stacklevel=2)
    return store


def import_pngs(folder: str | Path, labels: Mapping[str, Sequence[int]] | None = None) -> CueStore:
    """Read a folder of palette or grey PNGs, with its subfolders, into a store. Ids are the paths without ``.png``.

    Args:
        folder: the maps, all of one size: class numbers, 255 = no cue. Hidden files are ignored.
        labels: foreground classes of each image; None for the classes in its map.

    Raises:
        UserError: if the folder or PNGs in it are missing, a file cannot be read, sizes differ, an image does not have
            labels, or a map contains a class that is not among them.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"The folder of cues {folder} does not exist. Check the path.")
    paths = {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.png"))}
    paths = {name: path for name, path in paths.items() if not any(part[0] == "." for part in name.split("/"))}
    if not paths:
        raise UserError(
            f"{folder} contains no PNGs. Give a cue file, or a folder with one PNG per image that holds class numbers, "
            f"and {VOID} for no cue."
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
