"""The table of per-class IoU after a validation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pytorch_lightning import Callback, Trainer


class ScoreTable(Callback):
    """Prints :func:`score_table` of the module's ``val_scores`` and ``val_scores_crf`` after each
    validation.
    """

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        scores, with_crf = pl_module.val_scores, pl_module.val_scores_crf
        table = score_table(scores, with_crf, title=f"step {trainer.global_step}")
        bar = trainer.progress_bar_callback
        (bar.print if bar is not None else print)(table)


def score_table(scores: Mapping[str, Any], with_crf: Mapping[str, Any] | None, title: str = "") -> str:
    """Return per-class IoU in percent as text, without and, where measured, with the CRF; the mean is the
    last row.

    ``scores`` and ``with_crf`` are what :meth:`secseg.metrics.SegmentationScore.compute` returns.
    """
    columns = [("IoU", scores)] + ([("with CRF", with_crf)] if with_crf is not None else [])
    rows = [(name, [column["iou"][name] for _, column in columns]) for name in scores["iou"]]
    rows.append(("mean", [column["miou"] for _, column in columns]))
    width = max(len(title), *(len(name) for name, _ in rows))
    lines = [title.ljust(width) + "".join(f"{heading:>10}" for heading, _ in columns)]
    lines += [name.ljust(width) + "".join(f"{_percent(v):>10}" for v in values) for name, values in rows]
    lines.insert(-1, "-" * len(lines[0]))
    return "\n".join(lines)


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"
