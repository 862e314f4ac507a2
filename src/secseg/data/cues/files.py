"""Cue files of every form, found and opened; folders of PNGs."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import numpy as np

from secseg.data.classes import VOID
from secseg.data.cues.official import GRID, ID_LIST, import_official
from secseg.data.cues.store import Cues, CueStore, resample
from secseg.data.images import image_size
from secseg.data.masks import read_mask
from secseg.utils.errors import UserError
from secseg.utils.files import neighbours, sha256, user_cache
from secseg.utils.program import command
from secseg.utils.quoting import override

CUE_FILES = ("cues.safetensors", "localization_cues.pickle", "localization_cues.pickle.gz")


def find_cues(root: str | Path) -> Path | None:
    """Return the cue file in ``root`` or up to two folders above it, ours before the official one; None without one."""
    root = Path(root).expanduser().absolute()
    places = (folder / name for folder in (root, *root.parents[:2]) for name in CUE_FILES)
    return next((place for place in places if place.is_file()), None)


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


def import_pngs(folder: Path) -> CueStore:
    """Read a folder of palette or grey PNGs, with its subfolders, into a store. Ids are the paths without ``.png``.

    The maps hold class numbers, 255 = no cue. The labels of an image are the classes in its map. If the maps have
    different sizes, as those of the images, they are brought to 41 x 41 by ``resample``, which the provenance states.
    Hidden files are ignored.

    Raises:
        UserError: if the folder does not have PNGs, or a file cannot be read.
    """
    paths = {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.png"))}
    paths = {name: path for name, path in paths.items() if not any(part[0] == "." for part in name.split("/"))}
    if not paths:
        others = next(folder.rglob("*.npy"), None)
        advice = f" Make cues from maps such as {others} with `{command('make_cues', override('maps', folder))}`."
        raise UserError(
            f"{folder} contains no PNGs. Give a cue file, or a folder with one PNG per image that holds class numbers, "
            f"and {VOID} for no cue.{'' if others is None else advice}"
        )
    grid = GRID if len({image_size(path) for path in paths.values()}) > 1 else None

    def read(path: Path) -> Cues:
        cue_map = read_mask(path, VOID)
        cue_map = cue_map if grid is None else resample(cue_map, grid)
        return Cues(tuple(np.setdiff1d(cue_map, (0, VOID)).tolist()), cue_map)

    provenance = {"source": "PNGs", "folder": folder.name, "resized_to": grid}
    return CueStore.from_dict({name: read(path) for name, path in paths.items()}, provenance)
