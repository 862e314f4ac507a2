"""An evaluation in a run folder: pictures, CSV files, and the figures for results.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secseg.drawing.charts import boundary_figure, confusion_figure, iou_figure, size_bias_figure
from secseg.drawing.panels import save_figure
from secseg.evaluation.scores import Evaluation
from secseg.evaluation.tables import confusion_csv, per_class_csv, per_image_csv
from secseg.utils.files import write_text

WORST = 10
"""How many of the worst images the figures name."""


def write_evaluation(folder: str | Path, evaluations: Mapping[str, Evaluation]) -> dict[str, Any]:
    """Write pictures and CSV files of an evaluation into ``folder``, and return its figures as plain values.

    Args:
        folder: the run folder; made where it is missing.
        evaluations: by variant, ``without_crf``, ``with_crf`` or both, over the same classes and images.

    Returns:
        By variant what :meth:`~secseg.evaluation.Evaluation.compute` returns, and ``worst``, the
        names and mean IoU of the ten worst images.

    Files: ``per_class.csv``, ``per_image.csv``, ``iou.png``, ``size_bias.png``, ``boundary.png``, and for each variant
    ``confusion_<variant>.csv`` and ``.png``. Each appears whole or not at all.

    Raises:
        UserError: if the folder cannot be written.
        ValueError: if the variants counted different images.
    """
    folder = Path(folder)
    images, *others = (set(evaluation.images) for evaluation in evaluations.values())
    for other in others:
        if other != images:
            raise ValueError(f"the variants counted different images: {', '.join(sorted(images ^ other)[:10])}")
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
