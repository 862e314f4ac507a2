"""The command predict: open and check everything, then predict images in parallel, and report failures at the end."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from secseg.data.classes import VOC_CLASSES, voc_palette
from secseg.data.images import read_image, remark, shows_transparency
from secseg.data.labels import Labels, read_labels
from secseg.data.masks import save_mask
from secseg.inference.mask_folder import MaskFolder, save_overlay, save_probabilities
from secseg.inference.mask_warnings import count_pixels, removed_by_crf, unpredicted
from secseg.inference.predictor import Predictor, open_predictor
from secseg.inference.sources import InputImage, find_photographs
from secseg.inference.voc_server import write_archive
from secseg.runs.run_writer import versions, write_config, write_results
from secseg.utils.checks import check_flag, check_options, check_whole, refuse
from secseg.utils.config import to_plain
from secseg.utils.errors import UserError, listing
from secseg.utils.files import working_in
from secseg.utils.parallel import in_parallel
from secseg.utils.progress import ImageMeter, Stopwatch
from secseg.utils.quoting import shell_override
from secseg.utils.text import count, part_of

log = logging.getLogger(__name__)

ARCHIVE = "results.tar"
SWITCHES = ("overwrite", "overlays", "probabilities", "server")
MANY_IMAGES = 10
"""With so many images, masks of background alone are reported even if the labels of the images are unknown."""
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass
class Summary:
    """The results of a run: where and how many masks there are, which were made, which images failed, and which have
    transparent pixels. ``pixels`` are those of each class in the masks made, as ``count_pixels``."""

    folder: MaskFolder
    total: int
    kept: int
    pixels: np.ndarray
    made: list[InputImage] = field(default_factory=list)
    failures: dict[InputImage, Exception] = field(default_factory=dict)
    transparent: list[Path] = field(default_factory=list)


def predict(config: Mapping[str, Any]) -> UserError | None:
    """Run the prediction that ``config`` (``conf/predict.yaml``, composed) describes.

    Images whose files all exist are skipped, so an interrupted run is continued. ``results.json`` is written into
    ``run_dir``, even if images failed.

    Returns:
        The error of single images, or of the archive for the server, after all other masks were written.

    Raises:
        UserError: for wrong settings, before anything is written; for a full disk.
    """
    config = to_plain(config)
    _check(config)
    run = Path(config["run_dir"])
    folder = MaskFolder(Path(config["out"] or run / "masks").expanduser(), config["overlays"], config["probabilities"])
    images = find_photographs(str(config["images"]), config["root"], folder.path)
    predictor, protocol, opened = open_predictor(config)
    class_names = predictor.network.class_names
    labels_file = None if config["labels"] is None else Path(config["labels"]).expanduser()
    names = [item.name for item in images.items]
    labels = None if labels_file is None else read_labels(labels_file, names, class_names)
    if config["server"] and class_names != VOC_CLASSES:
        raise UserError(f"server=true: the VOC server takes VOC's classes, and {config['ckpt']} has others.")
    settings = {
        "image_folder": str(images.folder),
        "checkpoint": opened.sha256,
        **protocol,
        "labels": None if labels is None else hashlib.sha256(json.dumps(labels).encode()).hexdigest(),
    }
    files = {"checkpoint_file": opened.file, "labels_file": config["labels"]}
    with folder.opened(settings, images.items, config["overwrite"]) as todo, working_in(run):
        write_config(run, config)
        summary = Summary(folder, len(images.items), len(images.items) - len(todo), count_pixels({}, len(class_names)))
        if summary.kept:
            log.info("%d of %d masks exist in %s and are kept.", summary.kept, summary.total, folder.path)
        meter = _predict_all(predictor, todo, labels, config, summary)
        problem = _failure(summary, run)
        archive = run / ARCHIVE if config["server"] and problem is None else None
        if archive is not None:
            try:
                write_archive(folder.path, {item.name: item.path for item in images.items}, archive)
            except UserError as error:
                problem, archive = error, None
    warnings = prediction_warnings(summary, class_names, labels)
    for warning in warnings:
        log.warning("%s", warning)
    _write_results(config, {**settings, **files}, summary, meter, archive, [*opened.warnings, *warnings])
    return problem


def _check(config: Mapping[str, Any]) -> None:
    problems = [problem for key in SWITCHES for problem in check_flag(key, config[key])]
    if isinstance(config["images"], list | dict):
        problems.append(
            f"images={config['images']}: give one file, folder, glob or list; a glob matches several files."
        )
    problems += check_whole("workers", config["workers"], 1, null=True)
    if config["server"] is True and config["root"] is None:
        problems.append("server=true needs images=<split or id list> and root=<folder in VOC's layout>.")
    refuse([*problems, *check_options(config, ("inference", "crf"))])


def _predict_all(
    predictor: Predictor, todo: list[InputImage], labels: Labels | None, config: Mapping[str, Any], summary: Summary
) -> ImageMeter:
    """Make the files of each image, and add made and failed images to ``summary``. Return the meter of the time."""
    folder = summary.folder

    def one(item: InputImage) -> tuple[dict[str, float], np.ndarray]:
        watch = Stopwatch()
        with watch("reading"):
            photo = read_image(item.path)
            summary.transparent += [item.path] if shows_transparency(item.path) else []
        prediction = predictor(photo, None if labels is None else labels[item.name])
        with watch("output"):
            if folder.overlays:
                save_overlay(photo, prediction.mask, folder.overlay(item.name))
            if folder.probabilities:
                save_probabilities(prediction.probs, predictor.network.class_names, folder.probs(item.name))
            save_mask(prediction.mask, folder.mask(item.name), voc_palette())
        summary.made.append(item)  # in the thread: after Ctrl-C, the loop below does not see the last results
        return watch.seconds | prediction.seconds, count_pixels(prediction.masks, len(predictor.network.class_names))

    try:
        with ImageMeter("predict", len(todo)) as meter, closing(in_parallel(one, todo, config["workers"])) as results:
            for item, result in results:
                if isinstance(result, Exception):
                    cause = result.__cause__
                    if isinstance(cause, OSError) and cause.errno in FULL_DISK:
                        raise result
                    summary.failures[item] = result
                    meter.update()
                else:
                    meter.update(result[0])
                    summary.pixels += result[1]
    except KeyboardInterrupt:
        log.warning(
            "Stopped: %d of %d masks are in %s. To continue, give the same command with out=%s%s.",
            *(summary.kept + len(summary.made), summary.total, folder.path, folder.path),
            ", without overwrite=true" if config["overwrite"] else "",
        )
        raise
    return meter


def prediction_warnings(summary: Summary, class_names: Sequence[str], labels: Labels | None) -> list[str]:
    """Return a line for each thing that may be wrong with the masks made. Without labels, the classes in few images
    are unknown, and in many images one class at least is expected."""
    pixels, images, classes = summary.pixels, len(summary.made), range(1, len(class_names))
    if not images:
        return []
    if labels is not None:
        expected = {number for item in summary.made for number in labels[item.name]}
    else:
        expected = set(classes) if images >= MANY_IMAGES and not pixels[0, 1:].any() else set()
    return [
        *([remark("transparent", summary.transparent)] if summary.transparent else []),
        *unpredicted(pixels[0], class_names, expected, images),
        *removed_by_crf(pixels, class_names, classes),
    ]


def _write_results(
    config: Mapping[str, Any],
    protocol: Mapping[str, Any],
    summary: Summary,
    meter: ImageMeter,
    archive: Path | None,
    warnings: Sequence[str],
) -> None:
    """Write ``results.json``, and log the paths of the results."""
    results = {
        "masks": summary.folder.path,
        "images": summary.total,
        "made": len(summary.made),
        "kept": summary.kept,
        "failures": {str(item.path): _reason(item, error) for item, error in summary.failures.items()},
        "archive": archive,
        "warnings": warnings,
        "protocol": {**protocol, "images": str(config["images"])},
        "time": meter.time(),
        "versions": versions(),
    }
    write_results(Path(config["run_dir"]), results)
    if summary.made:
        log.info("%s in %.1f s: %s of the time.", count(len(summary.made), "mask"), meter.seconds, meter.shares_text())
    log.info("Masks: %s", summary.folder.path)
    if archive is not None:
        log.info("For the VOC server: %s", archive)


def _failure(summary: Summary, run: Path) -> UserError | None:
    """Return one error for all failed images, with the first of their errors as its cause."""
    if not summary.failures:
        return None
    folder = summary.folder.path
    failure = UserError(
        f"{part_of(len(summary.failures), summary.total, 'image', 'has', 'have')} no mask; the other masks are in "
        f"{folder}:\n"
        f"{listing([_reason(item, error) for item, error in summary.failures.items()])}\n"
        f"{run / 'results.json'} lists all of them. Fix or remove these images, and give the same command with "
        f"{shell_override('out', folder)} to continue."
    )
    failure.__cause__ = next(iter(summary.failures.values()))
    return failure


def _reason(item: InputImage, error: Exception) -> str:
    return str(error) if isinstance(error, UserError) else f"{item.path}: {type(error).__name__}: {error}"
