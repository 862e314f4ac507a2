"""Drawing the data set into a folder: each file whole or not at all, resumable, complete when ``shapes.json`` is there."""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from secseg.data.classes import voc_palette
from secseg.data.cue_store import Cues, CueStore
from secseg.data.shapes.cues import GRID, simulate_cues
from secseg.data.shapes.objects import OBJECTS
from secseg.data.shapes.scene import VOID, draw_scene
from secseg.errors import UserError
from secseg.files import atomic_write

SHAPES_CLASSES: tuple[str, ...] = ("background", *OBJECTS)
EDITION = 1
"""Of the drawing: raised whenever the same seed gives other pictures or cues."""

WORKERS = os.cpu_count() or 1
COMPLETE = "shapes.json"
UNFINISHED = "unfinished"


def draw_shapes(root: str | Path, train: int = 300, val: int = 100, seed: int = 0) -> None:
    """Draw the data set ``shapes`` into ``root`` unless it is there; go on where an interrupted drawing stopped.

    Writes ``JPEGImages/``, ``SegmentationClassAug/`` (palette PNG, 255 = void), ``ImageSets/Segmentation/{train,val}.txt``,
    ``cues.safetensors`` (of the training images; simulated, see ``simulate_cues``) and, last, ``shapes.json``.
    An image depends on ``seed``, its split and its number alone: fewer images are the first ones of more.

    Raises:
        UserError: if there is no image to draw, ``root`` holds something else or shapes of other settings, or it
            cannot be written.
    """
    root = Path(root).expanduser()
    if train < 1 or val < 1:
        raise UserError(f"shapes needs at least one image in each split, not draw_train={train}, draw_val={val}.")
    settings = {"data": "shapes", "edition": EDITION, "train": train, "val": val, "seed": seed}
    if _is_complete(root, settings):
        return
    names = {split: [f"{split}_{i:05d}" for i in range(n)] for split, n in (("train", train), ("val", val))}
    jobs = [(split, number, name) for split in names for number, name in enumerate(names[split])]
    with ThreadPoolExecutor(WORKERS) as pool:
        done = pool.map(lambda job: _draw_one(root, seed, *job), jobs)
        maps = dict(tqdm(done, f"drawing shapes into {root}", len(jobs), unit="image", leave=False))
    for split, ids in names.items():
        with atomic_write(root / "ImageSets" / "Segmentation" / f"{split}.txt") as temporary:
            temporary.write_text("".join(f"{name}\n" for name in ids))
    provenance = {"source": "simulated from the drawn truth, not made by a network", **settings}
    cues = {name: Cues(_classes(maps[name]), maps[name]) for name in names["train"]}
    CueStore.from_dict(cues, provenance).save(root / "cues.safetensors")
    with atomic_write(root / COMPLETE) as temporary:
        temporary.write_text(json.dumps({**settings, "classes": SHAPES_CLASSES}, indent=1) + "\n")
    shutil.rmtree(root / UNFINISHED, ignore_errors=True)


def _is_complete(root: Path, settings: dict[str, object]) -> bool:
    """Whether the folder holds these shapes; if not, make sure that they may be drawn into it."""
    if root.exists() and not root.is_dir():
        raise UserError(f"{root} is a file. Set data.root to a folder for the built-in shapes.")
    present = sorted(p.name for p in root.iterdir() if not p.name.startswith(".")) if root.is_dir() else []
    for record in (root / COMPLETE, root / UNFINISHED / "settings.json"):
        if record.is_file():
            found = _read(record)
            other = [
                f"{key} {found.get(key)}, not {value}" for key, value in settings.items() if found.get(key) != value
            ]
            if other:
                raise UserError(
                    f"{root} holds shapes of other settings ({'; '.join(other)}). Delete that folder, or set data.root "
                    "to another one."
                )
            return record.name == COMPLETE
    if present:
        raise UserError(
            f"{root} is not a folder of shapes: it holds {', '.join(present[:5])}{', ...' if len(present) > 5 else ''}. "
            "Set data.root to a new or empty folder, where the built-in data will be drawn."
        )
    with atomic_write(root / UNFINISHED / "settings.json") as temporary:
        temporary.write_text(json.dumps(settings) + "\n")
    return False


def _read(record: Path) -> dict[str, object]:
    try:
        found = json.loads(record.read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"Cannot read {record}: {error}. Delete the folder {record.parent}; it can be drawn again."
        ) from error
    return found if isinstance(found, dict) else {}


def _draw_one(root: Path, seed: int, split: str, number: int, name: str) -> tuple[str, np.ndarray]:
    """Draw one image, its mask and its cues, unless they are there; return its name and cue map (h, w) uint8.

    The cue map is written last: where it is, the image and the mask are.
    """
    drawn = root / UNFINISHED / f"{name}.cues"
    if drawn.is_file():
        return name, np.frombuffer(drawn.read_bytes(), np.uint8).reshape(GRID)
    key = [seed, ("train", "val").index(split), number]
    scene = draw_scene(np.random.default_rng([*key, 0]))
    cues = simulate_cues(scene, np.random.default_rng([*key, 1]))
    photo, truth = BytesIO(), BytesIO()
    Image.fromarray(scene.image).save(photo, "JPEG", quality=92)
    mask = Image.fromarray(scene.mask())
    mask.putpalette(voc_palette().tobytes())
    mask.save(truth, "PNG")
    for path, content in (
        (root / "JPEGImages" / f"{name}.jpg", photo.getvalue()),
        (root / "SegmentationClassAug" / f"{name}.png", truth.getvalue()),
        (drawn, cues.tobytes()),
    ):
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)
    return name, cues


def _classes(cue_map: np.ndarray) -> tuple[int, ...]:
    """The foreground classes of a map: each class of a scene has a cue, so these are the scene's."""
    return tuple(int(c) for c in np.unique(cue_map) if c not in (0, VOID))
