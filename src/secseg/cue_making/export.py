"""Export a cue file, or the maps that it was made from, for other programs."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from secseg.cue_making.cue_file import fingerprint
from secseg.cue_making.maps import missing_maps, read_maps
from secseg.cue_making.recipes.base import scaled_maps
from secseg.data.classes import VOID
from secseg.data.cues import Cues, CueStore, open_cues
from secseg.data.cues.export import export_official, export_pngs
from secseg.data.cues.export_maps import strided_size, write_ir_label, write_irn_cam, write_psa_cam
from secseg.data.cues.map_files import NOT_SURE, label_maps
from secseg.data.cues.official import GRID
from secseg.data.cues.store import resample
from secseg.data.images import image_size
from secseg.data.splits import ImageSet
from secseg.utils.files import check_space, sha256
from secseg.utils.parallel import with_progress
from secseg.utils.progress import timed
from secseg.utils.resizing import resize_aligned

log = logging.getLogger(__name__)

OFFICIAL = "localization_cues.pickle.gz"
MAP_FORMS = ("irn_cam", "psa_cam")
EXPORTS = ("official", "png", *MAP_FORMS, "ir_label")
Size = tuple[int, int]


def export_file(path: Path, images: ImageSet, folder: Path, form: str, workers: int | None = None) -> dict[str, Any]:
    """Write a cue file into a new folder within ``folder`` in another form.

    The new folder is named by the form and by what its files depend on. It appears whole or not at all, and is never
    overwritten.

    Args:
        path: any cue file.
        images: give the colours of the classes and, for the last three forms, the images and their sizes.
        folder: made if it is missing.
        form: ``official`` (the pickle, on 41 x 41) or ``png``, for all images of the cue file; ``irn_cam``, ``psa_cam``
            or ``ir_label``, for ``images``, at the size of each.
        workers: images at once; None for one per core.

    Returns:
        ``folder``, the new folder; ``source``: ``cues``, or ``maps`` if the files hold the maps that the cues were made
        from; ``warnings``: what the form cannot hold, a text each.

    Raises:
        UserError: if an image has no cues, a file cannot be read, or the disk is too small.
    """
    store = open_cues(path)
    content = sha256(path) if path.is_file() else None
    if form in ("official", "png"):
        name = form if content is None else f"{form}-{content[:16]}"
        with _new_folder(folder / name) as partial:
            if partial is not None and form == "png":
                export_pngs(store, partial, images.palette)
            elif partial is not None:
                export_official(store, partial / OFFICIAL)
        resized = form == "official" and store.grid != GRID
        warnings = ["The cues were brought to 41 x 41: small regions may be lost."] if resized else []
        return {"folder": str(folder / name), "source": "cues", "warnings": warnings}
    store.rows(images.names)
    maps = _find_maps(path, store, images) if form in MAP_FORMS else None
    target = folder / f"{form}-{fingerprint(content, images.names, maps is None)}"
    if maps is not None:
        log.info("export: the maps in %s, each divided by its maximum", maps)
    elif form in MAP_FORMS:
        log.info("export: the cues as maps, 1 at a cue of the class, %s where there is no cue, else 0", NOT_SURE)
    sizes = {name: image_size(image) for name, image in zip(images.names, images.images, strict=True)}
    with _new_folder(target) as partial:
        if partial is not None:
            _write_images(partial, store, images, sizes, form, maps, workers)
    warnings = [] if maps is not None else _losses(store, sizes, form)
    return {"folder": str(target), "source": "cues" if maps is None else "maps", "warnings": warnings}


@contextmanager
def _new_folder(target: Path) -> Iterator[Path | None]:
    """Yield the folder to fill, which becomes ``target`` at the end; None if ``target`` exists."""
    if target.exists():
        yield None
        return
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    yield partial
    partial.rename(target)


def _find_maps(path: Path, store: CueStore, images: ImageSet) -> Path | None:
    """Return the folder of the maps that a cue file next to it was made from, if it has those of all images."""
    name = store.provenance.get("maps")
    folder = path.parent / "maps" / str(name)
    return folder if isinstance(name, str) and not missing_maps(folder, images) else None


def _write_images(
    folder: Path,
    store: CueStore,
    images: ImageSet,
    sizes: Mapping[str, Size],
    form: str,
    maps: Path | None,
    workers: int | None,
) -> None:
    def write(name: str) -> None:
        cues, size = store[name], sizes[name]
        if form == "ir_label":
            write_ir_label(folder / f"{name}.png", resample(cues.map, size))
            return
        resized = _maps_of_cues(cues) if maps is None else _read_scaled(maps, name, cues.labels, images)
        if form == "irn_cam":
            write_irn_cam(folder / f"{name}.npy", cues.labels, resized(size), resized(strided_size(size)))
        else:
            write_psa_cam(folder / f"{name}.npy", cues.labels, resized(size))

    pixels = (h * w * (1 if form == "ir_label" else 4 * len(store[name].labels)) for name, (h, w) in sizes.items())
    needed = sum(pixels) if form != "irn_cam" else sum(pixels) * 17 // 16
    folder.mkdir(parents=True)
    _, seconds = timed(lambda: write(images.names[0]))
    advice = "Choose another folder with out=, or free some space."
    check_space(f"The exported files of {len(sizes)} images", needed, folder.parent, advice, len(sizes) * seconds)
    with_progress("export", write, images.names, workers)


def _maps_of_cues(cues: Cues) -> Callable[[Size], np.ndarray]:
    return lambda size: label_maps(resample(cues.map, size), cues.labels)


def _read_scaled(folder: Path, name: str, labels: Sequence[int], images: ImageSet) -> Callable[[Size], np.ndarray]:
    """Return a function from a size to the maps of an image, in 0..1."""
    found = read_maps(folder, name, labels, len(images.class_names) - 1).maps[[number - 1 for number in labels]]
    scaled = torch.from_numpy(scaled_maps(found))[None]
    return lambda size: resize_aligned(scaled, size)[0].numpy() if labels else np.zeros((0, *size), np.float32)


def _losses(store: CueStore, sizes: Mapping[str, Size], form: str) -> list[str]:
    """Return a warning with the number of cells and labels that are not found again in files made from cues."""
    cells, images, labels = 0, 0, 0
    for name, size in sizes.items():
        cues = store[name]
        different = resample(resample(cues.map, size), store.grid) != cues.map
        if form != "ir_label" and not cues.labels:
            different |= cues.map == VOID
        cells, images = cells + int(different.sum()), images + bool(different.any())
        labels += len(set(cues.labels) - set(np.unique(cues.map).tolist())) if form == "ir_label" else 0
    lost = [f"{cells} grid cells of {images} images, which are smaller than the grid or have no label"] if cells else []
    lost += [f"{labels} labels without a cue in their image"] if labels else []
    return [f"{form} files cannot hold all cues; lost are {' and '.join(lost)}."] if lost else []
