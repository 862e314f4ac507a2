"""The gallery of a report: validation images with the prediction of each setting."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from secseg.data.classes import voc_palette
from secseg.data.cues import CueStore, find_cues, open_cues
from secseg.data.datamodule import ImageDataModule
from secseg.data.images import read_image
from secseg.data.splits import ImageSet
from secseg.drawing.html import image_source, mask_source
from secseg.drawing.overlays import cues_over_grey, hex_colour
from secseg.evaluation.metrics import mean_iou
from secseg.evaluation.predictions import read_predicted
from secseg.evaluation.report.runs import VARIANTS, Run
from secseg.evaluation.report.study import Setting, Study
from secseg.utils.config import build
from secseg.utils.errors import UserError
from secseg.utils.resizing import reduce_image, reduced_size, resize_mask

log = logging.getLogger(__name__)

SIDE = 240
"""Longer side of the pictures, in pixels."""
BATCH = 32
"""Number of images whose masks are in memory at a time."""


@dataclass(frozen=True)
class Gallery:
    """The content for the script of the page.

    Attributes:
        about: texts: which images are shown, what is missing and why.
        settings: names of the settings whose predictions are shown.
        classes: name and colour of each class.
        images: for each image its ``name``, ``classes`` (numbers of the classes in its truth), the addresses of
            ``photo``, ``truth`` and ``cues`` (None if missing), and by variant the ``masks`` (addresses) and ``iou``
            (in [0, 1]) of the settings, and ``differs`` (settings by settings, share of pixels).
    """

    about: tuple[str, ...]
    settings: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    classes: tuple[tuple[str, str], ...] = ()
    images: list[dict[str, Any]] = field(default_factory=list)


def gallery(study: Study, settings: Sequence[Setting], count: int) -> Gallery:
    """Choose ``count`` validation images, and gather the predictions of the first seed of each setting.

    Half of the images are those on which the settings differ most; the others are spread evenly over the list of names.
    """
    runs = [setting.runs[0] for setting in settings]
    runs = [run for run in runs if run.counts.names]
    if count == 0:
        return Gallery(("The report was made without a gallery (images=0).",))
    if not runs:
        return Gallery(("The runs keep no predictions of single images (callbacks.predictions=null).",))
    named = {run.folder: setting.name for setting in settings for run in setting.runs}
    common = set.intersection(*(set(run.counts.names) for run in runs))
    names = [name for name in runs[0].counts.names if name in common]
    variants = [variant for variant in VARIANTS if any(variant in run.counts.by_variant for run in runs)]
    chosen = choose(names, _disagreement(runs, names, study.main_variant()), count)
    about = [
        f"{len(chosen)} of {len(names)} validation images with the predictions of the first seed of each setting, and "
        "the mean IoU of the image."
    ]
    if len(chosen) < len(names):
        about.append("On half of them the settings differ most; the others are spread evenly over the list of names.")
    files = _Files.open(study)
    if files.missing:
        about.append(files.missing)
    scored = [runs[0].counts.class_names.index(name) for name in study.scored]
    images = [_image(name, runs, variants, scored, files) for name in chosen]
    colours = [hex_colour(colour) for colour in files.palette]
    return Gallery(
        tuple(about),
        tuple(named[run.folder] for run in runs),
        tuple(variants),
        tuple(zip(runs[0].counts.class_names, colours, strict=False)),
        images,
    )


def choose(names: Sequence[str], disagreement: Sequence[float], count: int) -> list[str]:
    """Return ``count`` names in order: half with the largest disagreement, the others evenly over the list."""
    if count >= len(names):
        return list(names)
    order = np.argsort(-np.asarray(disagreement), kind="stable").tolist()
    chosen = {place for place in order[: count // 2] if disagreement[place] > 0}
    rest = [place for place in range(len(names)) if place not in chosen]
    spread = np.linspace(0, len(rest) - 1, count - len(chosen)).round().astype(int)
    return [names[place] for place in sorted(chosen | {rest[at] for at in spread})]


def _disagreement(runs: Sequence[Run], names: Sequence[str], variant: str) -> list[float]:
    """Return the share of pixels of each image on which the runs disagree."""
    shares = dict.fromkeys(names, 0.0)
    for start in range(0, len(names) if len(runs) > 1 else 0, BATCH):
        some = names[start : start + BATCH]
        masks = [read_predicted(run.folder, variant, some) for run in runs]
        for name in some:
            found = [predicted[name] for predicted in masks if name in predicted]
            if len({mask.shape for mask in found}) == 1:
                shares[name] = float(np.any([a != b for a, b in pairwise(found)], axis=0).mean()) if found[1:] else 0.0
    return list(shares.values())


@dataclass(frozen=True)
class _Files:
    """Paths of image and mask by name, and the cues; ``missing`` is the reason if they are not available."""

    paths: Mapping[str, Sequence[Path]]
    palette: np.ndarray
    cues: CueStore | None = None
    missing: str | None = None
    images: ImageSet | None = None

    @classmethod
    def open(cls, study: Study) -> _Files:
        node = study.settings[0].runs[0].config["data"]
        try:
            data = build(node, ImageDataModule)
            if not data.root.is_dir() or not any(data.root.iterdir()):  # a report must not draw shapes
                raise UserError(f"{data.root} holds nothing.")
            data.open_scored()
        except Exception as error:  # the config of another user can hold values of any type
            missing = f"Without images and truth, whose files are missing: {error}"
            log.warning("%s", missing)
            return cls({}, voc_palette(), missing=missing)
        path = data.cue_file or find_cues(data.root)
        try:
            cues = None if path is None else open_cues(path)
        except UserError:
            cues = None  # cues of validation images are rare, and not needed
        images = data.val_images
        return cls({name: paths for name, *paths in images.triples()}, data.palette, cues, images=images)


def _image(
    name: str, runs: Sequence[Run], variants: Sequence[str], scored: Sequence[int], files: _Files
) -> dict[str, Any]:
    counts = runs[0].counts.image(next(iter(runs[0].counts.by_variant)), name)
    entry: dict[str, Any] = {
        "name": name,
        **dict.fromkeys(("photo", "truth", "cues")),
        "classes": np.flatnonzero(counts.sum(1)).tolist(),
        **{key: {} for key in ("masks", "iou", "differs")},
    }
    try:
        entry |= _inputs(name, files)
    except UserError as error:
        log.warning("%s is shown without image and truth: %s", name, error)
    for variant in variants:
        masks = [read_predicted(run.folder, variant, [name]).get(name) for run in runs]
        entry["masks"][variant] = [None if mask is None else _reduced(mask, files.palette) for mask in masks]
        entry["iou"][variant] = [_iou(run, variant, name, scored) for run in runs]
        entry["differs"][variant] = [[_differs(first, second) for second in masks] for first in masks]
    return entry


def _inputs(name: str, files: _Files) -> dict[str, str]:
    """Return the addresses of the image, its truth and its cues."""
    if files.images is None or name not in files.paths:
        return {}
    image, truth = files.paths[name]
    photo = reduce_image(read_image(image), SIDE)
    found = {"photo": image_source(photo), "truth": _reduced(files.images.read_mask(truth), files.palette)}
    if files.cues is not None and name in files.cues.names:
        found["cues"] = image_source(cues_over_grey(photo, files.cues[name].map, files.palette))
    return found


def _reduced(mask: np.ndarray, palette: np.ndarray) -> str:
    return mask_source(resize_mask(mask, reduced_size(mask.shape, SIDE)), palette)


def _iou(run: Run, variant: str, name: str, scored: Sequence[int]) -> float | None:
    if variant not in run.counts.by_variant:
        return None
    value = float(mean_iou(run.counts.image(variant, name), scored))
    return round(value, 4) if np.isfinite(value) else None


def _differs(first: np.ndarray | None, second: np.ndarray | None) -> float | None:
    if first is None or second is None or first.shape != second.shape:
        return None
    return round(float((first != second).mean()), 4)
