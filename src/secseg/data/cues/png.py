"""Cues as a folder of palette PNGs, one an image: to look at, to edit, and for other programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from secseg.data.classes import VOID
from secseg.data.cues.store import Cues, CueStore
from secseg.data.images import read_mask, save_mask
from secseg.utils.errors import UserError, listing


def export_pngs(store: CueStore, folder: str | Path, palette: np.ndarray) -> None:
    """Write the cues of each image as ``<id>.png`` on their own grid: class numbers, 255 = no cue.

    Args:
        store: the cues.
        folder: made where it is missing; an id with ``/`` lies in a folder within.
        palette: (256, 3) uint8, the RGB colour of each class number.

    The labels are not written: a class that an image is labelled with and has no cue of is lost.

    Raises:
        UserError: if an id is no path within the folder, or the folder cannot be written.
    """
    outside = [name for name in store if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]
    if outside:
        raise UserError(f"These image ids lead out of the folder {folder}; rename the images:\n{listing(outside)}")
    for name in store:
        save_mask(store[name].map, Path(folder) / f"{name}.png", palette)


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
