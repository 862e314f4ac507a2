"""The command evaluate: score a trained network, or a folder of masks, on a split of a data set."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from secseg.data.datamodule import ImageDataModule
from secseg.data.images import read_image
from secseg.data.some_masks import leave_out
from secseg.data.splits import TUNED_MARK, is_tuned_split, tuned_note
from secseg.drawing.overlays import GalleryItem
from secseg.drawing.panels import panel, save_figure
from secseg.evaluation.outputs import log_evaluation, score_table, write_evaluation
from secseg.evaluation.score_warnings import score_warnings
from secseg.evaluation.scores import Evaluation, ImageFiles, Masks, read_masks, score_folder, score_images
from secseg.inference.mask_folder import RECORD
from secseg.inference.predictor import open_predictor
from secseg.models.files.export import read_results
from secseg.models.files.load import find_network, read_checkpoint
from secseg.models.files.model_file import is_safetensors
from secseg.runs.loggers import build_loggers
from secseg.runs.run_writer import versions, write_config, write_results
from secseg.runs.wandb_logger import finish_wandb
from secseg.utils.checks import check_options, check_text, check_whole, refuse
from secseg.utils.config import build, to_plain
from secseg.utils.errors import UserError
from secseg.utils.files import read_json, working_in
from secseg.utils.progress import ImageMeter, Stopwatch

log = logging.getLogger(__name__)

TRAINING = ("data", "train_split", "labels", "cues", "training_masks", "trunk_pretraining")
"""What the protocol states of the training of a network."""


class Scored(NamedTuple):
    """The result of scoring a split: ``read`` reads or predicts the masks of an image.

    Attributes:
        evaluations: metrics by variant, ``without_crf`` and, if there is a CRF, ``with_crf``.
        protocol, time, warnings: for ``results.json``; the warnings are about the network.
    """

    evaluations: dict[str, Evaluation]
    protocol: dict[str, Any]
    time: dict[str, Any]
    read: Callable[[ImageFiles], Masks]
    warnings: Sequence[str] = ()


def evaluate(config: Mapping[str, Any]) -> dict[str, Any]:
    """Run the evaluation that ``config`` (``conf/evaluate.yaml``, composed) describes, and print its scores.

    Writes ``results.json``, whose content is returned, CSV tables and figures (see ``write_evaluation``),
    ``worst.png`` and ``metrics.csv`` into the run folder.

    Raises:
        UserError: for anything that the user can fix, before anything is scored.
    """
    config = to_plain(config)
    _check(config)
    data = open_data(config)
    run = Path(config["run_dir"])
    with working_in(run):
        write_config(run, config)
        try:
            loggers = build_loggers(config["logger"], run, config, run.name)
            found = score_network(config, data) if config["masks"] is None else _score_masks(config, data)
            figures = write_evaluation(run, found.evaluations)
            gallery = _draw_worst(run, found, data, config["pictures"])
            protocol = {
                "data": data.title,
                "root": data.root,
                "split": data.val_split,
                "images": len(data.val_images.names),
                "scored": list(data.scored or data.class_names),
                "scored_masks": data.val_images.mask_folders(),
                **data.mask_protocol(),
            }
            confusions = {variant: one.score.confusion for variant, one in found.evaluations.items()}
            warnings = score_warnings(confusions, data.class_names, len(data.val_images.names), data.scored)
            results = {
                "figures": figures,
                "warnings": [*found.warnings, *data.warnings, *warnings],
                "protocol": (protocol := protocol | found.protocol),
                "time": found.time,
                "versions": versions(),
            }
            write_results(run, results)
            log_evaluation(loggers, run, figures, gallery, data.class_names)
        finally:
            finish_wandb()
    tuned = is_tuned_split(protocol["tuned_on"], data.val_split)
    print(score_table(figures, title=f"{data.title}, {data.val_split}{TUNED_MARK if tuned else ''}"))
    if tuned:
        print(tuned_note(data.val_split))
    for warning in warnings:
        log.warning("%s", warning)
    return results


def _draw_worst(run: Path, found: Scored, data: ImageDataModule, count: int) -> list[GalleryItem]:
    """Write ``worst.png``, and return its items: the images with the lowest scores."""
    images = {image[0]: image for image in data.val_images.triples()}
    gallery = []
    for name, _ in list(found.evaluations.values())[-1].worst(count):
        masks, truth, _ = found.read(images[name])
        photo = read_image(images[name][1])
        gallery.append(GalleryItem(name, photo, None, masks["without_crf"], masks.get("with_crf"), truth))
    if gallery:
        save_figure(panel(gallery, data.class_names, data.palette), run / "worst.png")
    return gallery


def open_data(config: Mapping[str, Any]) -> ImageDataModule:
    """Open the split to score: of ``data`` if an option is chosen, else of the run of ``ckpt``, without the images on
    whose mask the run was trained (``data.masks=some``).

    Raises:
        UserError: if there is no data, files are missing, or no image has a mask.
    """
    node, record = config.get("data"), {}
    if node is None:
        if config["ckpt"] is None:
            raise UserError("masks= needs the data: give data=<option> (data=voc12aug), and root=<folder>.")
        file = find_network(config["ckpt"])
        if not (file.is_file() and is_safetensors(file)):
            record = read_checkpoint(file)["secseg"]
            node = record["config"].get("data")
        if node is None:
            raise UserError(f"{config['ckpt']} does not record its data: give data=<option> and root=<folder>.")
    given = {"root": config["root"], "val_split": config["split"], "scored": config["scored"], "limit": config["limit"]}
    data = build({**node, **{key: value for key, value in given.items() if value is not None}}, ImageDataModule)
    data.open_scored()
    trained = record.get("masked_images")
    if isinstance(trained, list):
        data.val_images = leave_out(data.val_images, set(map(str, trained)))
    return data


def score_network(config: Mapping[str, Any], data: ImageDataModule) -> Scored:
    """Score the network of ``config`` on the opened split of ``data``."""
    predictor, protocol, opened = open_predictor(config)
    names = predictor.network.class_names
    if names != data.class_names:
        raise UserError(
            f"The network {config['ckpt']} has {_some(names)}, the data {data.title} has {_some(data.class_names)}. "
            "Choose the data that it was trained on."
        )

    def read(image: ImageFiles) -> Masks:
        _, photo_path, mask_path = image
        watch = Stopwatch()
        with watch("reading"):
            photo = read_image(photo_path)
            mask = data.val_images.read_mask(mask_path, photo.shape[:2])
        prediction = predictor(photo)
        return prediction.masks, mask, watch.seconds | prediction.seconds

    variants = ("without_crf",) if predictor.crf is None else ("without_crf", "with_crf")
    evaluations = {variant: Evaluation(names, data.scored) for variant in variants}
    images = data.val_images.triples()
    with ImageMeter("evaluate", len(images)) as meter:
        score_images(read, images, evaluations, meter, config["workers"])
    trained = (read_results(opened.file) or {}).get("protocol")
    protocol |= {
        "checkpoint": {"file": opened.file, "sha256": opened.sha256},
        "device": str(predictor.device),
        "labels_restrict_predictions": False,
        "tuned_on": config["tuned_on"] or (trained or {}).get("tuned_on"),
        "training": None if trained is None else {key: trained.get(key) for key in TRAINING},
    }
    return Scored(evaluations, protocol, meter.time(), read, opened.warnings)


def _score_masks(config: Mapping[str, Any], data: ImageDataModule) -> Scored:
    folder = Path(config["masks"]).expanduser()
    with ImageMeter("score", len(data.val_images.names)) as meter:
        evaluation = score_folder(folder, data.val_images, data.scored, workers=config["workers"], meter=meter)
    protocol = {
        "masks": folder,
        "crf": "unknown: masks from a folder",
        "labels_restrict_predictions": _restricted(folder),
        "tuned_on": config["tuned_on"],
    }
    return Scored({"without_crf": evaluation}, protocol, meter.time(), read_masks(folder, data.val_images))


def _restricted(folder: Path) -> bool | str:
    """Return whether labels restricted the classes of the masks in a folder, which predict states."""
    try:
        return read_json(folder / RECORD)["settings"]["labels"] is not None
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown: masks from a folder"


def _check(config: Mapping[str, Any]) -> None:
    problems = []
    if (config["ckpt"] is None) == (config["masks"] is None):
        problems.append("Give one of ckpt=<run folder or checkpoint> and masks=<folder of predicted masks>.")
    for key in ("workers", "limit"):
        problems += check_whole(key, config[key], 1, null=True)
    problems += check_text("tuned_on", config["tuned_on"], null=True, note="the name of a split")
    refuse([*problems, *check_whole("pictures", config["pictures"], 0), *check_options(config, ("inference", "crf"))])


def _some(names: Sequence[str]) -> str:
    return f"{len(names)} classes ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})"
