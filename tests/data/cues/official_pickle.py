"""Small cue files in the form of the official one."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path

import numpy as np

IDS = "2007_000032.jpg 0\n2007_000039.jpg 1\n2007_000063.jpg 2\n"


def content() -> dict[str, np.ndarray]:
    """Three images: one class, two classes, one class; background in a corner of each."""
    labels = {0: [7], 1: [20, 3], 2: [15]}
    cues = {
        0: [(0, 0, 0), (0, 0, 1), (7, 20, 30)],
        1: [(0, 40, 40), (20, 5, 6), (20, 5, 7), (3, 9, 9)],
        2: [(0, 0, 0), (15, 40, 0)],
    }
    entries: dict[str, np.ndarray] = {}
    for number in labels:
        entries[f"{number}_labels"] = np.array(labels[number])
        entries[f"{number}_cues"] = np.array(cues[number]).T
    return entries


def write(folder: Path, entries: object, name: str = "localization_cues.pickle.gz") -> Path:
    """Pickle ``entries`` with the three names that the official file uses, and write the id list next to it."""
    data = pickle.dumps(entries, protocol=3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    path = folder / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    (folder / "input_list.txt").write_text(IDS)
    return path
