"""Write the drawn data set in the VOC layout, with simulated localization cues."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt

from secseg.data.classes import VOID, voc_palette
from secseg.data.cues import Cues, CueStore
from secseg.data.cues.store import resample
from secseg.data.masks import save_mask
from secseg.data.shapes.objects import OBJECTS
from secseg.data.shapes.painting import noise
from secseg.data.shapes.scene import Scene, draw_scene
from secseg.utils.errors import UserError, listing
from secseg.utils.files import atomic_write, read_json, write_text
from secseg.utils.parallel import with_progress

SHAPES_CLASSES: tuple[str, ...] = ("background", *OBJECTS)
VERSION = 2
"""Increased whenever the drawing changes, so that an older drawing is recognised."""
MARKER = "shapes.json"
UNFINISHED = "unfinished"
"""Folder of an unfinished drawing: its settings, and the cue map of each finished image."""
GRID = (41, 41)
# With these shares, coverage and precision are close to those of the official cue file: a region of about a third of
# each object around its distinctive part, and a tenth of the image as background.
OBJECT_SHARE = (0.32, 0.6)
BACKGROUND_SHARE = 0.101
STRAY = 0.1
"""Probability that the region of an object lies away from its distinctive part, somewhere near the object."""


def draw_shapes(root: str | Path, train: int = 300, val: int = 100, seed: int = 0) -> None:
    """Draw the data set into ``root``, if it is not there yet. An interrupted drawing is continued.

    The drawing has the VOC layout, simulated ``cues.safetensors`` and, written last, ``shapes.json``. An image depends
    only on ``seed``, its split and its number.

    Args:
        root: the folder; created if it does not exist.
        train, val: numbers of images, at least 1.
        seed: seed of the drawing, at least 0.

    Raises:
        UserError: if ``root`` holds other files or a drawing with other settings, or cannot be written.
    """
    root = Path(root)
    if train < 1 or val < 1 or seed < 0:
        raise UserError(
            f"Cannot draw {train} training and {val} validation images from seed {seed}: give at least 1 of each "
            "(data.draw_train, data.draw_val) and a seed of at least 0 (data.draw_seed)."
        )
    settings = {"version": VERSION, "train": train, "val": val, "seed": seed}
    if _is_there(root, settings):
        return
    marker = json.dumps(settings, indent=2) + "\n"
    write_text(root / UNFINISHED / MARKER, marker)
    names = {"train": [f"train_{n:05d}" for n in range(train)], "val": [f"val_{n:05d}" for n in range(val)]}
    every = [*names["train"], *names["val"]]
    drawn = with_progress(f"drawing {root}", lambda name: _draw(root, seed, name), every)
    provenance = {"source": "simulated for the drawn shapes", "draw_seed": seed, "drawing": VERSION}
    CueStore.from_dict(dict(zip(every, drawn, strict=True)), provenance).save(root / "cues.safetensors")
    for split, ids in names.items():
        write_text(root / "ImageSets" / "Segmentation" / f"{split}.txt", "\n".join(ids) + "\n")
    write_text(root / MARKER, marker)
    shutil.rmtree(root / UNFINISHED, ignore_errors=True)


def _is_there(root: Path, settings: dict[str, int]) -> bool:
    """Return whether ``root`` holds the whole drawing. Other files there raise a UserError."""
    if root.exists() and not root.is_dir():
        raise UserError(f"{root} is a file. Name a folder for the shapes with data.root=.")
    for marker in (root / MARKER, root / UNFINISHED / MARKER):
        if not marker.is_file():
            continue
        try:
            found = read_json(marker)
        except ValueError:
            found = None
        if found == settings:
            return marker.parent == root
        raise UserError(
            f"{root} holds shapes drawn with other settings ({found}; wanted: {settings}). Name another folder with "
            "data.root=, or delete this one."
        )
    others = [path.name for path in root.iterdir() if path.name != UNFINISHED] if root.is_dir() else []
    if others:
        raise UserError(
            f"{root} holds other files, and shapes are not drawn next to them:\n{listing(sorted(others))}\n"
            "Name an empty or new folder with data.root=."
        )
    return False


def _draw(root: Path, seed: int, name: str) -> Cues:
    """Draw and write one image and its mask, unless they exist; return its cues.

    The cue map is written last. If it exists, image and mask exist, too.
    """
    done = root / UNFINISHED / name
    if done.is_file():
        cue_map = np.frombuffer(done.read_bytes(), np.uint8).reshape(GRID)
        return Cues(tuple(np.setdiff1d(cue_map, (0, VOID)).tolist()), cue_map)
    split, number = name.split("_")
    rng = np.random.default_rng([seed, 0 if split == "train" else 1, int(number)])
    scene = draw_scene(rng)
    cues = simulate_cues(scene, rng)
    with atomic_write(root / "JPEGImages" / f"{name}.jpg") as temporary:
        Image.fromarray(scene.image).save(temporary, "JPEG", quality=92)
    save_mask(scene.mask(), root / "SegmentationClassAug" / f"{name}.png", voc_palette())
    with atomic_write(done) as temporary:
        temporary.write_bytes(cues.map.tobytes())
    return cues


def simulate_cues(scene: Scene, rng: np.random.Generator) -> Cues:
    """Return simulated cues of ``scene`` on the 41 x 41 grid, where each class has a cue.

    Each object gets an irregular region around its distinctive part, which may extend over its edge. The background
    gets the cells that are farthest from all objects, with some noise. Objects have priority over the background.
    """
    objects = resample(scene.object_map, GRID)
    height, width = scene.object_map.shape
    rows, columns = np.meshgrid(np.linspace(0, height - 1, GRID[0]), np.linspace(0, width - 1, GRID[1]), indexing="ij")
    cues = np.full(GRID, VOID, np.uint8)

    clearance = distance_transform_edt(objects == 0) / 12 + 5.5 * noise(GRID, 4, rng)
    certain = np.argsort(clearance, axis=None)[-round(BACKGROUND_SHARE * objects.size) :]
    cues.flat[certain] = 0
    for number, (class_number, (x, y)) in enumerate(zip(scene.classes, scene.centres, strict=True), 1):
        visible = objects == number
        size = max(int(visible.sum()), 1)
        if rng.random() < STRAY:
            x, y = np.add((x, y), rng.normal(0, 0.18 * max(height, width), 2))
        distance = np.hypot(rows - y, columns - x) / (size / objects.size * height * width) ** 0.5
        ragged = distance + 0.5 * noise(GRID, 7, rng) + np.where(visible, 0.0, 0.12)
        take = max(1, round(rng.uniform(*OBJECT_SHARE) * size))
        blob = np.argsort(ragged, axis=None)[:take]
        cues.flat[blob] = class_number
    return Cues(tuple(sorted(set(scene.classes))), _with_every_class(cues, objects, scene))


def _with_every_class(cues: np.ndarray, objects: np.ndarray, scene: Scene) -> np.ndarray:
    """Give a class whose region was overwritten one grid cell, on its object if that is visible."""
    for number, class_number in enumerate(scene.classes, 1):
        if not (cues == class_number).any():
            places = np.flatnonzero(objects == number)
            free = np.flatnonzero(cues == VOID)
            cues.flat[places[len(places) // 2] if len(places) else free[0]] = class_number
    return cues
