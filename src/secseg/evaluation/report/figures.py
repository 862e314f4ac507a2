"""The figures of a study: which data each chart shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from secseg.drawing.charts import LABELS
from secseg.drawing.html import svg
from secseg.drawing.panels import smooth
from secseg.drawing.study_charts import (
    Drawing,
    Points,
    Style,
    add_legend,
    bias_chart,
    curve_chart,
    effect_chart,
    iou_chart,
    setting_styles,
)
from secseg.evaluation.report.runs import VARIANTS, Run
from secseg.evaluation.report.study import Row, Study
from secseg.runs.run_reader import curve
from secseg.utils.files import write_text

MOST = 12
"""Most settings in curves, classes and gallery."""
SCORES = {
    "val/miou": "mean IoU on the validation split, without CRF, %",
    "val/miou_crf": "mean IoU on the validation split, with CRF, %",
}
POINTS = 150
"""Most points of a curve."""


class Figures(NamedTuple):
    """The figures of a study. ``curves`` and ``classes`` show the baseline and the best other settings (``shown``)."""

    shown: Sequence[Row]
    styles: Sequence[Style]
    effects: Sequence[Drawing]
    curves: Sequence[Drawing]
    classes: Sequence[Drawing]

    @property
    def drawings(self) -> Sequence[Drawing]:
        """All figures."""
        return (*self.effects, *self.classes, *self.curves)


def draw(study: Study, rows: Sequence[Row]) -> Figures:
    """Draw the figures of a study."""
    shown = _shown(study, rows)
    styles = setting_styles(len(shown))
    return Figures(shown, styles, effects(study, rows), learning_curves(shown, styles), classes(study, shown, styles))


def write_figures(folder: Path, figures: Figures) -> None:
    """Write each figure into ``folder`` as SVG. Curves and classes get a legend here; the page has one for all."""
    names = [row.setting.name for row in figures.shown]
    for drawing in (*figures.curves, *figures.classes):
        add_legend(drawing.figure, names, figures.styles)
    for drawing in figures.drawings:
        write_text(folder / drawing.file, svg(drawing.figure).decode("utf-8"))


def effects(study: Study, rows: Sequence[Row]) -> list[Drawing]:
    """Draw the mean IoU against each swept key."""
    drawings = []
    for key in study.swept:
        scored = {variant: [row for row in rows if variant in row.miou] for variant in VARIANTS}
        lines = {variant: _lines(some, key, variant) for variant, some in scored.items() if some}
        figure = effect_chart(key, [row.setting.values[key] for row in rows], lines)
        drawings.append(Drawing(f"mean IoU by {key}", figure, f"effect_{key}"))
    return drawings


def learning_curves(rows: Sequence[Row], styles: Sequence[Style]) -> list[Drawing]:
    """Draw the terms of the loss, smoothed, and the mean IoU over the steps. What no run logged twice is left out."""
    terms = dict.fromkeys(term for row in rows for run in row.setting.runs for term in run.config["loss"])
    losses = {"train/loss": "training loss", **{f"train/{term}": f"training loss, {term}" for term in terms}}
    drawings = []
    for key, title in (SCORES | losses).items():
        figure = curve_chart([_over_seeds(row.setting.runs, key) for row in rows], styles, loss=key in losses)
        if figure is not None:
            drawings.append(Drawing(title, figure, f"curve_{key.replace('/', '_')}"))
    return drawings


def classes(study: Study, rows: Sequence[Row], styles: Sequence[Style]) -> list[Drawing]:
    """Draw IoU and size bias of each class, with the CRF if every run has it."""
    variant = study.main_variant()
    label, drawings = f"by class, {LABELS[variant]}", []
    for name, title, chart, found in (
        ("iou", f"IoU {label}", iou_chart, [row.iou for row in rows]),
        ("size_bias", f"size bias {label}: 1 is as large as the truth", bias_chart, [row.bias for row in rows]),
    ):
        values = [{key: one.values for key, one in of.get(variant, {}).items()} for of in found]
        figure = chart(study.scored, values, styles)
        if figure is not None:
            drawings.append(Drawing(title, figure, name))
    return drawings


def _shown(study: Study, rows: Sequence[Row]) -> list[Row]:
    """Return the baseline and the best other settings, in the order of the rows."""
    variant = study.main_variant()

    def rank(row: Row) -> tuple[bool, float]:
        return row.setting is not study.baseline, -row.miou[variant].mean if variant in row.miou else 0.0

    kept = sorted(rows, key=rank)[:MOST]
    return [row for row in rows if row in kept]


def _lines(rows: Sequence[Row], key: str, variant: str) -> list[Points]:
    """Return the rows as lines: those of a line differ in ``key`` alone."""
    lines: dict[tuple[str, ...], list[tuple[str, Sequence[float]]]] = {}
    for row in rows:
        rest = tuple(value for name, value in row.setting.values.items() if name != key)
        lines.setdefault(rest, []).append((row.setting.values[key], row.miou[variant].values))
    return list(lines.values())


def _over_seeds(runs: Sequence[Run], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return steps (n) and the values (runs, n) of the runs at them, up to the last step that all runs logged. Losses
    are smoothed, scores are in percent."""
    curves = [found for run in runs if len((found := curve(run.metrics, key))[0])]
    if not curves:
        return np.zeros(0), np.zeros((0, 0))
    end = min(steps[-1] for steps, _ in curves)
    steps = curves[0][0][curves[0][0] <= end]
    steps = steps[np.unique(np.linspace(0, len(steps) - 1, POINTS).round().astype(int))] if len(steps) else steps
    shown = [(at, 100 * values if key in SCORES else smooth(values)) for at, values in curves]
    return steps, np.stack([np.interp(steps, at, values) for at, values in shown])
