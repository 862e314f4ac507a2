"""Outputs of an evaluation: the table in the terminal, files in the run folder, and logged metrics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from PIL import Image
from pytorch_lightning.loggers import Logger

from secseg.drawing.charts import boundary_figure, confusion_figure, iou_figure, size_bias_figure
from secseg.drawing.overlays import GalleryItem
from secseg.drawing.panels import save_figure
from secseg.drawing.wandb import iou_table, wandb_images
from secseg.evaluation.scores import Evaluation
from secseg.runs.wandb_logger import WandbRunLogger
from secseg.utils.console import percent, table
from secseg.utils.files import csv_text, write_text

SHOWN_WIDTHS = (1, 5, 20)
"""Widths of the bands around boundaries that the table shows, if they were measured."""
WORST = 10
"""Number of the worst images in the results."""


def score_table(results: Mapping[str, Mapping[str, Any]], title: str = "") -> str:
    """Return a table of at most 100 columns: IoU in percent by class and its mean, with a column for each variant.

    Args:
        results: result of :meth:`secseg.evaluation.SegmentationScore.compute` by variant: ``without_crf``, ``with_crf``
            or both. Results of :meth:`secseg.evaluation.Evaluation.compute` add columns of the size bias, and rows of
            the pixel accuracy and of the mean IoU near boundaries. Names of classes outside the mean are in brackets.
        title: title of the column of names.
    """
    first = next(iter(results.values()))
    columns = [_column("IoU", variant, _ious(result)) for variant, result in results.items()]
    if "size_bias" in first:
        for variant, result in results.items():
            ratios = ["-" if math.isnan(bias) else f"{bias:.2f}" for bias in result["size_bias"].values()]
            columns.append(_column("size bias", variant, ratios))
    scored = first.get("scored", list(first["iou"]))
    names = [name if name in scored else f"({name})" for name in first["iou"]]
    below = ["mean" if len(scored) == len(names) else f"mean of {len(scored)}"]
    if "boundary" in first:
        below += ["pixel accuracy", *(f"mean within {width:g} px of boundaries" for _, width in _shown(first))]
    rows = zip_longest([title, *names, *below], *columns, fillvalue="")
    return table(list(rows), rule=1 + len(names))


def write_evaluation(folder: str | Path, evaluations: Mapping[str, Evaluation]) -> dict[str, Any]:
    """Write figures and CSV files of an evaluation into ``folder``, and return its metrics as plain values.

    Files: ``per_class.csv``, ``per_image.csv``, ``iou.png``, ``size_bias.png``, ``boundary.png``, and for each variant
    ``confusion_<variant>.csv`` and ``.png``. Each file is written whole or not at all.

    Args:
        folder: the run folder; created if it does not exist.
        evaluations: by variant, ``without_crf``, ``with_crf`` or both, with the same classes and images.

    Returns:
        By variant the result of :meth:`~secseg.evaluation.Evaluation.compute`, and ``worst``, names and mean IoU of the
        ten worst images.
    """
    folder = Path(folder)
    images, *others = (set(evaluation.images) for evaluation in evaluations.values())
    for other in others:
        if other != images:
            raise ValueError(f"the variants have different images: {', '.join(sorted(images ^ other)[:10])}")
    results = {variant: evaluation.compute() for variant, evaluation in evaluations.items()}
    texts = {"per_class.csv": per_class_csv(evaluations), "per_image.csv": per_image_csv(evaluations)}
    figures = {
        "iou.png": iou_figure(results),
        "size_bias.png": size_bias_figure(results),
        "boundary.png": boundary_figure(results),
    }
    for variant, evaluation in evaluations.items():
        score = evaluation.score
        texts[f"confusion_{variant}.csv"] = confusion_csv(score.confusion, score.class_names)
        figures[f"confusion_{variant}.png"] = confusion_figure(
            score.confusion, score.class_names, score.scored, variant
        )
    for name, text in texts.items():
        write_text(folder / name, text)
    for name, figure in figures.items():
        save_figure(figure, folder / name)
    return {variant: {**result, "worst": evaluations[variant].worst(WORST)} for variant, result in results.items()}


def log_evaluation(
    loggers: Sequence[Logger],
    folder: Path,
    figures: Mapping[str, Mapping[str, Any]],
    gallery: Sequence[GalleryItem],
    class_names: Sequence[str],
) -> None:
    """Log the metrics and figures of ``write_evaluation`` in ``folder``; only W&B gets pictures."""
    values = {}
    for variant, suffix in (("without_crf", ""), ("with_crf", "_crf")):
        for key in ("miou", "pixel_accuracy") if variant in figures else ():
            values[f"test/{key}{suffix}"] = figures[variant][key]
    for logger in loggers:
        logger.log_metrics(values, step=0)
        if isinstance(logger, WandbRunLogger):
            logger.send(lambda: _wandb_values(folder, figures, gallery, class_names))
        logger.finalize("success")


def _wandb_values(
    folder: Path, figures: Mapping[str, Mapping[str, Any]], gallery: Sequence[GalleryItem], class_names: Sequence[str]
) -> dict[str, Any]:
    import wandb

    pictures = {f"figures/{path.stem}": wandb.Image(Image.open(path)) for path in sorted(folder.glob("*.png"))}
    table = iou_table({variant: figure["iou"] for variant, figure in figures.items()})
    worst = wandb_images(gallery, class_names)
    return {**pictures, "tables/iou": table, **({"pictures/worst": worst} if worst else {})}


def confusion_csv(confusion: Any, class_names: Sequence[str]) -> str:
    """Return a confusion matrix (C, C) of pixel counts as CSV: a row for each true class, a column for each predicted
    class, with their names first."""
    rows = [[name, *row] for name, row in zip(class_names, confusion.tolist(), strict=True)]
    return csv_text([["truth/prediction", *class_names], *rows])


def per_class_csv(evaluations: Mapping[str, Evaluation]) -> str:
    """Return the metrics by class as CSV: ``scored``, ``pixels`` (true area), and for each variant ``iou_<variant>``,
    ``size_bias_<variant>`` and ``predicted_<variant>`` (area).

    Areas are in pixels that are not void. IoUs are in [0, 1]. A cell without a value is empty.
    """
    first = next(iter(evaluations.values())).score
    columns: dict[str, Sequence[Any]] = {
        "class": first.class_names,
        "scored": [str(name in first.scored).lower() for name in first.class_names],
        "pixels": first.confusion.sum(1).tolist(),
    }
    for variant, evaluation in evaluations.items():
        score = evaluation.score
        columns[f"iou_{variant}"] = _values(score.compute()["iou"].values())
        columns[f"size_bias_{variant}"] = _values(score.size_bias().values())
        columns[f"predicted_{variant}"] = score.confusion.sum(0).tolist()
    return csv_text([list(columns), *zip(*columns.values(), strict=True)])


def per_image_csv(evaluations: Mapping[str, Evaluation]) -> str:
    """Return the mean IoU of each single image as CSV, for each variant ``miou_<variant>``. The worst images by the
    last variant come first, images without a score last."""
    last = list(evaluations.values())[-1]
    worst = [name for name, _ in last.worst(len(last.images))]
    names = [*worst, *sorted(last.images.keys() - set(worst))]
    rows = [[name, *_values(evaluation.images[name] for evaluation in evaluations.values())] for name in names]
    return csv_text([["image", *(f"miou_{variant}" for variant in evaluations)], *rows])


def _column(heading: str, variant: str, cells: Sequence[str]) -> list[str]:
    return [f"{heading.removeprefix('size ')} + CRF" if variant == "with_crf" else heading, *cells]


def _ious(result: Mapping[str, Any]) -> list[str]:
    """Return the cells of a column, from the first class down."""
    cells = [percent(iou) for iou in (*result["iou"].values(), result["miou"])]
    if "boundary" in result:
        cells += [
            percent(result["pixel_accuracy"]),
            *(percent(result["boundary"]["miou"][at]) for at, _ in _shown(result)),
        ]
    return cells


def _shown(result: Mapping[str, Any]) -> list[tuple[int, float]]:
    """Return position and width of the bands in the table; the first three if the usual ones were not measured."""
    widths = list(enumerate(result["boundary"]["widths"]))
    usual = [(at, width) for at, width in widths if width in SHOWN_WIDTHS]
    return usual if len(usual) > 1 else widths[:3]


def _values(values: Iterable[float]) -> list[float | str]:
    return ["" if math.isnan(value) else value for value in values]
