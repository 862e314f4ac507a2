"""An evaluation from its config: a trained network, or a folder of masks, scored on a split of a data set."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from secseg.data.datamodule import ImageDataModule
from secseg.data.images import read_image, read_mask
from secseg.drawing.overlays import GalleryItem
from secseg.drawing.panels import panel, save_figure
from secseg.evaluation.masks import score_folder
from secseg.evaluation.scores import Evaluation
from secseg.evaluation.tables import score_table
from secseg.evaluation.to_files import write_evaluation
from secseg.evaluation.to_loggers import log_evaluation
from secseg.inference.predictor import open_predictor
from secseg.models.files.load import find_network, read_checkpoint
from secseg.models.files.model_file import is_safetensors
from secseg.runs.loggers import build_loggers
from secseg.runs.run_writer import save_config, versions, write_results
from secseg.runs.wandb_logger import finish_wandb
from secseg.utils.checks import check_options, check_whole, refuse
from secseg.utils.config import build
from secseg.utils.errors import UserError
from secseg.utils.files import sha256, working_in
from secseg.utils.parallel import results_of
from secseg.utils.progress import ImageMeter, Stopwatch

log = logging.getLogger(__name__)

Show = Callable[[str, Path, Path], GalleryItem]


def evaluate(config: Mapping[str, Any]) -> dict[str, Any]:
    """Run the evaluation that ``config`` (``conf/evaluate.yaml``, composed and plain) describes.

    The run folder gets ``results.json``, tables as CSV and figures (see ``write_evaluation``), ``worst.png`` and
    ``metrics.csv``; the terminal the table of scores.

    Returns:
        What ``results.json`` holds.

    Raises:
        UserError: for anything that the user can mend, before anything is scored.
    """
    _check(config)
    data = open_data(config)
    run = Path(config["run_dir"])
    with working_in(run):
        return _evaluate_in(run, config, data)


def _evaluate_in(run: Path, config: Mapping[str, Any], data: ImageDataModule) -> dict[str, Any]:
    save_config(run, config)
    try:
        loggers = build_loggers(config["logger"], run, config, run.name)
        score = _score_masks if config["masks"] is not None else score_network
        evaluations, protocol, time, show = score(config, data)
        figures = write_evaluation(run, evaluations)
        main = evaluations.get("with_crf", evaluations["without_crf"])
        places = {name: number for number, name in enumerate(data.val_images.names)}
        masks = data.val_images.masks
        assert masks is not None
        gallery = [
            show(name, data.val_images.images[places[name]], masks[places[name]])
            for name, _ in main.worst(config["pictures"])
        ]
        if gallery:
            save_figure(panel(gallery, data.class_names, data.palette), run / "worst.png")
        results = {
            "figures": figures,
            "protocol": {**_data_protocol(data), **protocol},
            "time": time,
            "versions": versions(),
        }
        write_results(run, results)
        log_evaluation(loggers, run, figures, gallery, data.class_names)
    finally:
        finish_wandb()
    print(score_table(figures, title=f"{data.title}, {data.val_split}"))
    return results


def open_data(config: Mapping[str, Any]) -> ImageDataModule:
    """Open the split to score: of ``data``, where an option is chosen, else of the run that ``ckpt`` belongs to.

    Raises:
        UserError: where there is none, its files are not all there, or no image has a mask.
    """
    node = config.get("data")
    if node is None:
        if config["ckpt"] is None:
            raise UserError("masks= needs to know the data: give data=<option> (data=voc12aug), and root=<folder>.")
        file = find_network(config["ckpt"])
        node = (
            None if file.is_file() and is_safetensors(file) else read_checkpoint(file)["secseg"]["config"].get("data")
        )
        if node is None:
            raise UserError(f"{config['ckpt']} does not say what to score on: give data=<option> and root=<folder>.")
    given = {"root": config["root"], "val_split": config["split"], "scored": config["scored"], "limit": config["limit"]}
    data = build({**node, **{key: value for key, value in given.items() if value is not None}}, ImageDataModule)
    data.open_scored()
    return data


def score_network(
    config: Mapping[str, Any], data: ImageDataModule
) -> tuple[dict[str, Evaluation], dict[str, Any], dict[str, Any], Show]:
    """Score the network of ``config`` on the split that is open in ``data``.

    Returns:
        The scores ``without_crf`` and, where there is a CRF, ``with_crf``; the protocol; the time (see ``ImageMeter``);
        and what makes a picture of an image.

    Raises:
        UserError: for a network or settings that cannot be used, or a network of other classes than the data.
    """
    predictor, stated = open_predictor(config)
    network = predictor.network
    if network.class_names != data.class_names:
        raise UserError(
            f"The network {config['ckpt']} has {_some(network.class_names)}, the data {data.title} has "
            f"{_some(data.class_names)}. "
            "Choose the data that it was trained for."
        )
    variants = ["without_crf"] if predictor.crf is None else ["without_crf", "with_crf"]
    evaluations = {name: Evaluation(data.class_names, data.scored) for name in variants}
    images = data.val_images
    assert images.masks is not None

    def one(item: tuple[str, Path, Path]) -> tuple[list[Evaluation], dict[str, float]]:
        name, photo_path, truth = item
        watch = Stopwatch()
        with watch("reading"):
            photo = read_image(photo_path)
            mask = read_mask(truth, len(data.class_names), photo.shape[:2])
        prediction = predictor(photo)
        parts = []
        with watch("output"):
            for predicted in (prediction.mask, prediction.mask_crf):
                if predicted is not None:
                    part = Evaluation(data.class_names, data.scored)
                    part.update(name, predicted, mask)
                    parts.append(part)
        return parts, watch.seconds | prediction.seconds

    items = list(zip(images.names, images.images, images.masks, strict=True))
    with ImageMeter("evaluate", len(items)) as meter, closing(results_of(one, items, config["workers"])) as results:
        for _, (parts, seconds) in results:
            for evaluation, part in zip(evaluations.values(), parts, strict=True):
                evaluation.merge(part)
            meter.update(seconds)

    def show(name: str, photo_path: Path, truth: Path) -> GalleryItem:
        photo = read_image(photo_path)
        prediction = predictor(photo)
        mask = read_mask(truth, len(data.class_names))
        return GalleryItem(name, photo, None, prediction.mask, prediction.mask_crf, mask)

    file = find_network(config["ckpt"])
    stated |= {
        "checkpoint": {"file": file, "sha256": sha256(file)},
        "device": str(predictor.device),
    }
    return evaluations, stated, meter.time(), show


def _score_masks(
    config: Mapping[str, Any], data: ImageDataModule
) -> tuple[dict[str, Evaluation], dict[str, Any], dict[str, Any], Show]:
    folder = Path(config["masks"]).expanduser()
    with ImageMeter("score", len(data.val_images.names)) as meter:
        evaluation = score_folder(folder, data.val_images, data.scored, workers=config["workers"], meter=meter)

    def show(name: str, photo_path: Path, truth: Path) -> GalleryItem:
        predicted, mask = (read_mask(path, len(data.class_names)) for path in (folder / f"{name}.png", truth))
        return GalleryItem(name, read_image(photo_path), None, predicted, None, mask)

    return (
        {"without_crf": evaluation},
        {"masks": folder, "crf": "not known: masks as they were found"},
        meter.time(),
        show,
    )


def _data_protocol(data: ImageDataModule) -> dict[str, Any]:
    return {
        "data": data.title,
        "root": data.root,
        "split": data.val_split,
        "images": len(data.val_images.names),
        "scored": list(data.scored or data.class_names),
    }


def _check(config: Mapping[str, Any]) -> None:
    problems = []
    if (config["ckpt"] is None) == (config["masks"] is None):
        problems.append("Give one of ckpt=<run folder or checkpoint> and masks=<folder of predicted masks>.")
    for key in ("workers", "limit"):
        problems += check_whole(key, config[key], 1, null=True)
    refuse([*problems, *check_whole("pictures", config["pictures"], 0), *check_options(config, ("inference", "crf"))])


def _some(names: Sequence[str]) -> str:
    return f"{len(names)} classes ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})"
