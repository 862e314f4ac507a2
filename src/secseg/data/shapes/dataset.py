"""The drawn data set on disk, in the VOC layout."""

from __future__ import annotations

import io
import json
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from secseg.data.classes import voc_palette
from secseg.data.cue_store import Cues, CueStore
from secseg.data.shapes.cues import simulate_cues
from secseg.data.shapes.objects import OBJECTS
from secseg.data.shapes.scene import draw_scene
from secseg.errors import UserError, listing
from secseg.files import atomic_write

SHAPES_CLASSES: tuple[str, ...] = ("background", *OBJECTS)
VERSION = 1
"""Raised whenever the drawing changes, so that an older drawing is not taken for this one."""
MARKER = "shapes.json"


def draw_shapes(root: str | Path, train: int = 300, val: int = 100, seed: int = 0) -> None:
    """Draw the data set into ``root``, unless it is there already; a drawing that was broken off is drawn anew.

    ``JPEGImages/<id>.jpg``, ``SegmentationClassAug/<id>.png`` (palette; 255 = void), ``ImageSets/Segmentation/
    {train,val}.txt``, ``cues.safetensors`` (simulated) and, written last, ``shapes.json``. Image ``number`` depends on
    ``seed`` and its number only.

    Args:
        root: folder; made where it is missing.
        train, val: number of images, at least 1.
        seed: of the drawing.

    Raises:
        UserError: where ``root`` holds something else or a drawing with other settings.
    """
    root = Path(root)
    if train < 1 or val < 1:
        raise UserError(f"Cannot draw {train} training and {val} validation images: give at least 1 of each.")
    settings = {"version": VERSION, "train": train, "val": val, "seed": seed}
    if _is_there(root, settings):
        return
    names = {"train": [f"train_{n:05d}" for n in range(train)], "val": [f"val_{n:05d}" for n in range(val)]}
    jobs = [*names["train"], *names["val"]]
    # "spawn": forking a process that has threads (torch's, say) can hang it
    workers = min(os.cpu_count() or 1, len(jobs) // 50)
    draw = partial(_draw, root, seed)
    with tqdm(total=len(jobs), desc=f"drawing {root}", unit="image", mininterval=1.0) as bar:
        cues = {}
        if workers > 1:
            with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
                for name, entry in pool.map(draw, jobs, chunksize=10):
                    cues[name] = entry
                    bar.update()
        else:
            for name, entry in map(draw, jobs):
                cues[name] = entry
                bar.update()
    provenance = {"source": "simulated for the drawn shapes", "draw_seed": seed, "drawing": VERSION}
    CueStore.from_dict(cues, provenance).save(root / "cues.safetensors")
    for split, ids in names.items():
        _write(root / "ImageSets" / "Segmentation" / f"{split}.txt", ("\n".join(ids) + "\n").encode())
    _write(root / MARKER, json.dumps(settings, indent=2).encode())


def _is_there(root: Path, settings: dict[str, int]) -> bool:
    marker = root / MARKER
    if marker.is_file():
        try:
            found = json.loads(marker.read_text("utf-8"))
        except ValueError:
            found = None
        if found == settings:
            return True
        raise UserError(
            f"{root} holds shapes drawn with other settings ({found}; wanted: {settings}). Name another folder with "
            "data.root=, or delete this one."
        )
    known = {"JPEGImages", "SegmentationClassAug", "ImageSets", "cues.safetensors"}
    others = [path.name for path in root.iterdir() if path.name not in known] if root.is_dir() else []
    if others:
        raise UserError(
            f"{root} holds other things, and shapes are not drawn among them:\n{listing(sorted(others))}\n"
            "Name an empty or new folder with data.root=."
        )
    return False


def _draw(root: Path, seed: int, name: str) -> tuple[str, Cues]:
    """Draw and write one image and its mask; return its cues."""
    split, number = name.split("_")
    rng = np.random.default_rng([seed, 0 if split == "train" else 1, int(number)])
    scene = draw_scene(rng)
    picture, truth = io.BytesIO(), io.BytesIO()
    Image.fromarray(scene.image).save(picture, "JPEG", quality=92)
    mask = Image.fromarray(scene.mask(), "P")
    mask.putpalette(voc_palette().tobytes())
    mask.save(truth, "PNG")
    _write(root / "JPEGImages" / f"{name}.jpg", picture.getvalue())
    _write(root / "SegmentationClassAug" / f"{name}.png", truth.getvalue())
    return name, simulate_cues(scene, rng)


def _write(path: Path, content: bytes) -> None:
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
