"""A prediction from its config: everything is opened and checked first, then each photograph is read, predicted and
written, many side by side; what failed is told at the end."""

from __future__ import annotations

import errno
import logging
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from secseg.data.classes import VOC_CLASSES, voc_palette
from secseg.data.images import read_image, save_mask
from secseg.data.labels import read_labels
from secseg.inference.mask_folder import MaskFolder, save_overlay, save_probabilities
from secseg.inference.predictor import Predictor, open_predictor
from secseg.inference.sources import Photograph, Photographs, find_photographs
from secseg.inference.voc_server import write_archive
from secseg.models import SegmentationNet
from secseg.models.files.load import find_network
from secseg.runs.run_writer import save_config, versions, write_results
from secseg.utils.checks import check_flag, check_options, check_whole, refuse
from secseg.utils.errors import UserError, listing
from secseg.utils.files import sha256
from secseg.utils.parallel import side_by_side
from secseg.utils.progress import ImageMeter, Stopwatch

log = logging.getLogger(__name__)

ARCHIVE = "results.tar"
SWITCHES = ("overwrite", "overlays", "probabilities", "server")
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass
class Tally:
    """What came of the photographs of a run."""

    total: int
    kept: int
    made: list[Photograph] = field(default_factory=list)
    failures: dict[Photograph, Exception] = field(default_factory=dict)


def predict(config: Mapping[str, Any]) -> UserError | None:
    """Run the prediction that ``config`` (``conf/predict.yaml``, composed and plain) describes.

    Photographs whose files are all there already are passed over, so that a broken-off run goes on. ``results.json``
    is written into ``run_dir`` whether or not there were failures.

    Returns:
        What went wrong with single photographs, or with the archive for the server, after all others were written.

    Raises:
        UserError: for what is wrong with the settings, before anything is written; for a full disk.
    """
    _check(config)
    run = Path(config["run_dir"])
    folder = MaskFolder(Path(config["out"] or run / "masks").expanduser(), config["overlays"], config["probabilities"])
    photographs = find_photographs(str(config["images"]), config["root"], folder.path)
    predictor, protocol = open_predictor(config)
    labels = _labels(config, photographs, predictor.network)
    if config["server"] and predictor.network.class_names != VOC_CLASSES:
        raise UserError(f"server=true: the VOC server takes VOC's classes, and {config['ckpt']} has others.")
    settings = {
        "photographs": str(photographs.folder),
        "checkpoint": sha256(find_network(config["ckpt"])),
        **protocol,
        "labels": None if config["labels"] is None else sha256(Path(config["labels"]).expanduser()),
    }
    archive = run / ARCHIVE if config["server"] else None
    with folder.opened(settings, photographs.items, config["overwrite"]) as todo:
        save_config(run, config)
        tally = Tally(total=len(photographs.items), kept=len(photographs.items) - len(todo))
        if tally.kept:
            log.info("%d of %d masks are in %s already and kept.", tally.kept, tally.total, folder.path)
        meter = _predict_all(predictor, folder, todo, labels, config, tally)
        problem = _told(tally, folder, run)
        if archive is not None and problem is None:
            problem = _write_archive(archive, folder, photographs)
        archive = None if problem else archive
    _write_results(config, settings, folder, tally, meter, archive)
    return problem


def _write_archive(path: Path, folder: MaskFolder, photographs: Photographs) -> UserError | None:
    """Write the archive for the VOC server; return what is wrong with the masks, if anything."""
    names, paths = zip(*((item.name, item.path) for item in photographs.items), strict=True)
    try:
        write_archive(folder.path, names, paths, path)
    except UserError as error:
        return error
    return None


def _write_results(
    config: Mapping[str, Any],
    settings: Mapping[str, Any],
    folder: MaskFolder,
    tally: Tally,
    meter: ImageMeter,
    archive: Path | None,
) -> None:
    """Write ``results.json``, and log where everything is."""
    files = {"checkpoint_file": find_network(config["ckpt"]), "labels_file": config["labels"]}
    results = {
        "masks": folder.path,
        "images": tally.total,
        "made": len(tally.made),
        "kept": tally.kept,
        "failures": {str(item.path): _reason(item, error) for item, error in tally.failures.items()},
        "archive": archive,
        "protocol": {**settings, **files, "images": str(config["images"])},
        "time": meter.time(),
        "versions": versions(),
    }
    write_results(Path(config["run_dir"]), results)
    if tally.made:
        log.info("%d masks in %.1f s: %s of the time.", len(tally.made), meter.seconds, meter.shares_text())
    log.info("Masks: %s", folder.path)
    if archive is not None:
        log.info("For the VOC server: %s", archive)


def _predict_all(
    predictor: Predictor,
    folder: MaskFolder,
    todo: list[Photograph],
    labels: Mapping[str, tuple[int, ...]] | None,
    config: Mapping[str, Any],
    tally: Tally,
) -> ImageMeter:
    """Make the files of each photograph; failures are told as they come, and counted in ``tally``. Return the meter of
    the time that it took."""

    def one(item: Photograph) -> dict[str, float]:
        watch = Stopwatch()
        with watch("reading"):
            photo = read_image(item.path)
        prediction = predictor(photo, None if labels is None else labels[item.name])
        mask = list(prediction.masks.values())[-1]
        with watch("output"):
            if folder.overlays:
                save_overlay(photo, mask, folder.overlay(item.name))
            if folder.probabilities:
                save_probabilities(prediction.probs, predictor.network.class_names, folder.probs(item.name))
            save_mask(mask, folder.mask(item.name), voc_palette())
        tally.made.append(item)  # here, since after Ctrl-C nobody takes the last results
        return watch.seconds | prediction.seconds

    try:
        with ImageMeter("predict", len(todo)) as meter, closing(side_by_side(one, todo, config["workers"])) as results:
            for item, result in results:
                if isinstance(result, Exception):
                    cause = result.__cause__
                    if isinstance(cause, OSError) and cause.errno in NO_ROOM:
                        raise result
                    tally.failures[item] = result
                    meter.update()
                else:
                    meter.update(result)
    except KeyboardInterrupt:
        log.warning(
            "Stopped: %d of %d masks are in %s. To go on, give the same command with out=%s%s.",
            *(tally.kept + len(tally.made), tally.total, folder.path, folder.path),
            ", without overwrite=true" if config["overwrite"] else "",
        )
        raise
    return meter


def _check(config: Mapping[str, Any]) -> None:
    problems = [problem for key in SWITCHES for problem in check_flag(key, config[key])]
    if isinstance(config["images"], list | dict):
        problems.append(f"images={config['images']}: give one file, folder, glob or list; several by a glob.")
    problems += check_whole("workers", config["workers"], 1, null=True)
    if config["server"] is True and config["root"] is None:
        problems.append("server=true needs images=<split or id list> and root=<folder in VOC's layout>.")
    refuse([*problems, *check_options(config, ("inference", "crf"))])


def _labels(
    config: Mapping[str, Any], photographs: Photographs, network: SegmentationNet
) -> dict[str, tuple[int, ...]] | None:
    if config["labels"] is None:
        return None
    names = [item.name for item in photographs.items]
    return read_labels(Path(config["labels"]).expanduser(), names, network.class_names)


def _told(tally: Tally, folder: MaskFolder, run: Path) -> UserError | None:
    """Return one error that names the photographs that failed, with the first of their errors as its cause."""
    if not tally.failures:
        return None
    told = UserError(
        f"{len(tally.failures)} of {tally.total} photographs have no mask; those of the others are in {folder.path}:\n"
        f"{listing([_reason(item, error) for item, error in tally.failures.items()])}\n"
        f"{run / 'results.json'} names all of them. Mend or remove them, and give the same command with "
        f"out={folder.path}: it goes on."
    )
    told.__cause__ = next(iter(tally.failures.values()))
    return told


def _reason(item: Photograph, error: Exception) -> str:
    return str(error) if isinstance(error, UserError) else f"{item.path}: {type(error).__name__}: {error}"
