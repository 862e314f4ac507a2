"""How well the size of each class in an image can be estimated from its cues, for ``decay.adaptive.source=cues``."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from secseg.crf import CRFParams, build_crf
from secseg.cue_making.audit.measure import CueCounts
from secseg.data.cues import CueStore
from secseg.data.images import read_image
from secseg.data.splits import ImageSet
from secseg.data.transforms import crf_image, training_input
from secseg.losses.adaptive_decay import scores_of_cues, sizes_of_probabilities
from secseg.utils.console import COLUMNS, table
from secseg.utils.errors import UserError

MOST = 300
"""Images that are measured, spread over the split: a CRF runs on each."""
EXPLANATION = (
    "decay.adaptive.source=cues would estimate these sizes from the cues and a CRF. Medians over images: the estimate "
    "over the true size, the factor by which it is wrong, and the factor for one size of all images, the median."
)
_SIDE, _SCALE, _BATCH = 321, 12, 30


def estimate_errors(counts: CueCounts, store: CueStore, images: ImageSet) -> dict[str, dict[str, Any]] | None:
    """Compare sizes that are estimated from cues with those in the masks.

    Returns:
        None without masks, else by class: ``images``, those with the class in labels and mask; ``true``, the median of
        its size in the masks, as a share of the image; ``ratio``, the median of estimated over true size; ``factor``,
        the median of the factor, at least 1, by which the estimate is wrong; and ``constant``, the same if each image
        had the median size. Images that cannot be read are left out.
    """
    rows = np.flatnonzero(counts.masked & counts.labelled.any(1))
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST)).round().astype(int)] if len(rows) else rows
    measured = _estimated(rows, counts, store, images)
    if not measured:
        return None
    rows, estimated = np.array(list(measured)), np.stack(list(measured.values()))
    true = counts.true[rows] / np.maximum(counts.true[rows].sum(1, keepdims=True), 1)
    labelled = counts.labelled[rows].copy()
    labelled[:, 0] = True
    found = {}
    for number, name in enumerate(counts.class_names):
        chosen = labelled[:, number] & (true[:, number] > 0)
        if chosen.any():
            truth, guess = true[chosen, number], np.maximum(estimated[chosen, number], 1 / counts.cells)
            found[name] = {
                "images": int(chosen.sum()),
                "true": float(np.median(truth)),
                "ratio": float(np.median(guess / truth)),
                "factor": _factor(guess, truth),
                "constant": _factor(np.median(truth), truth),
            }
    return found


def _factor(guess: np.ndarray | np.floating[Any], truth: np.ndarray) -> float:
    return float(np.exp(np.median(np.abs(np.log(guess / truth)))))


def _estimated(rows: np.ndarray, counts: CueCounts, store: CueStore, images: ImageSet) -> dict[int, np.ndarray]:
    """Return the estimated sizes (C,) of the images in these rows that can be read."""
    paths = dict(zip(images.names, images.images, strict=True))
    crf = build_crf("lattice", CRFParams().scaled(_SCALE))
    classes = len(counts.class_names)
    sizes: dict[int, np.ndarray] = {}
    for start in range(0, len(rows), _BATCH):
        batch = {}
        for row in rows[start : start + _BATCH].tolist():
            try:
                photo = read_image(paths[counts.names[row]])
            except UserError:
                continue
            batch[row] = crf_image(training_input(photo, _SIDE)[None], counts.grid)[0]
        if batch:
            maps = np.stack([store[counts.names[row]].map for row in batch])
            cues = torch.from_numpy(maps)[:, None] == torch.arange(classes)[:, None, None]
            labels = torch.from_numpy(counts.labelled[list(batch)])
            probs = crf(scores_of_cues(cues, labels), torch.stack(list(batch.values())))
            sizes.update(zip(batch, sizes_of_probabilities(probs, labels).numpy(), strict=True))
    return sizes


def sizes_table(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what ``estimate_errors`` returns as text."""
    head = ["size of a class", "images", "true, median %", "cues + CRF / true", "wrong by a factor", "constant size"]
    keys = ("ratio", "factor", "constant")
    rows = [
        [name, str(found["images"]), f"{100 * found['true']:.1f}", *(f"{found[key]:.2f}" for key in keys)]
        for name, found in figures.items()
    ]
    return f"{table([head, *rows])}\n\n{textwrap.fill(EXPLANATION, COLUMNS)}"
