"""A study as pictures: what each swept value does, learning curves, classes. Small, to wrap on a narrow page."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from secseg.drawing.charts import COLOURS, LONGEST, MARKERS, label_ratios, name_ticks
from secseg.drawing.panels import smooth
from secseg.evaluation.report.runs import VARIANTS, Run
from secseg.evaluation.report.statistics import Row, Spread
from secseg.evaluation.report.study import Study
from secseg.evaluation.report.study_tables import TITLES

# Okabe and Ito's colours for all kinds of sight, with grey in place of yellow, which is too pale for lines.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8a8a8a")
Line: TypeAlias = Literal["-", "--", ":"]
LINES: tuple[Line, ...] = ("-", "--", ":")
MARKS = ("o", "s", "^")
SCORES = {
    "val/miou": "mean IoU on the validation split, without CRF, %",
    "val/miou_crf": "mean IoU on the validation split, with CRF, %",
}
POINTS = 150
"""Points of a curve."""


class Style(NamedTuple):
    """How a setting is drawn in every figure: colour, kind of line, kind of marker."""

    colour: str
    line: Line
    mark: str


class Drawing(NamedTuple):
    """A figure, what it shows, and how its file is called."""

    title: str
    figure: Figure
    name: str

    @property
    def file(self) -> str:
        """The name of its file, whatever the swept key is called."""
        return f"{re.sub(r'[^-.,=+a-zA-Z0-9_]', '_', self.name)}.svg"


def styles(count: int) -> list[Style]:
    """Return how settings are drawn: eight colours, then the same with other lines and markers."""
    ways = [Style(colour, line, mark) for line, mark in zip(LINES, MARKS, strict=True) for colour in PALETTE]
    return [ways[number % len(ways)] for number in range(count)]


def effects(study: Study, rows: Sequence[Row]) -> list[Drawing]:
    """Draw the mean IoU against each swept key: means and spreads of the runs with a value, each run as a dot, and a
    thin line for each combination of the other keys."""
    return [
        Drawing(f"mean IoU by {key}", _effect(key, rows, len(study.swept) > 1), f"effect_{key}") for key in study.swept
    ]


def learning_curves(rows: Sequence[Row], ways: Sequence[Style]) -> list[Drawing]:
    """Draw the terms of the loss, smoothed, and the mean IoU over the steps: means over seeds, bands from the lowest to
    the highest. What no run logged twice is left out."""
    terms = dict.fromkeys(term for row in rows for run in row.setting.runs for term in run.config["loss"])
    losses = {"train/loss": "training loss", **{f"train/{term}": f"training loss, {term}" for term in terms}}
    drawings = []
    for key, title in (SCORES | losses).items():
        scale = 100.0 if key.startswith("val/") else 1.0
        figure, axes = _figure()
        for row, way in zip(rows, ways, strict=True):
            steps, values = _over_seeds(row.setting.runs, key)
            if len(steps) > 1:
                values = scale * values
                marker = "." if len(steps) <= 20 else None
                axes.plot(steps, values.mean(0), color=way.colour, linestyle=way.line, marker=marker, linewidth=1.5)
                axes.fill_between(steps, values.min(0), values.max(0), color=way.colour, alpha=0.15, linewidth=0)
        if axes.lines:
            axes.set_xlabel("step")
            axes.set_xlim(0, None)
            if scale == 1:
                axes.set_ylim(0, None)
            drawings.append(Drawing(title, figure, f"curve_{key.replace('/', '_')}"))
    return drawings


def classes(study: Study, rows: Sequence[Row], ways: Sequence[Style], variant: str) -> list[Drawing]:
    """Draw IoU and size bias of each class: a dot a setting, with its spread over seeds."""

    def percent(found: Spread) -> list[float]:
        return [100 * value for value in found.values]

    def logarithm(found: Spread) -> list[float]:
        with np.errstate(divide="ignore"):
            return list(np.clip(np.log2(found.values), -LONGEST, LONGEST))

    drawings = []
    figure = _dots(study, [row.iou.get(variant, {}) for row in rows], ways, percent)
    if figure is not None:
        axes = figure.axes[0]
        axes.set_xlim(-2, 102)
        axes.set_xlabel("IoU, %")
        drawings.append(Drawing(f"IoU by class, {TITLES[variant]}", figure, "iou"))
    figure = _dots(study, [row.bias.get(variant, {}) for row in rows], ways, logarithm)
    if figure is not None:
        axes = figure.axes[0]
        reach = int(np.ceil(max(1.0, *(abs(limit) for limit in axes.get_xlim()))))
        reach = min(reach, LONGEST)
        axes.axvline(0, color="#444444", linewidth=1, zorder=0)
        axes.set_xlim(-1.08 * reach, 1.08 * reach)
        label_ratios(axes, reach)
        title = f"size bias by class, {TITLES[variant]}: 1 is as large as the truth"
        drawings.append(Drawing(title, figure, "size_bias"))
    return drawings


def add_legend(figure: Figure, names: Sequence[str], ways: Sequence[Style]) -> None:
    """Write beside a figure of learning curves or classes which setting is drawn how, as it is on the page for all."""
    lines = [Line2D([], [], color=way.colour, linestyle=way.line, marker=way.mark, markersize=4) for way in ways]
    figure.set_figheight(figure.get_figheight() + 0.18 * len(lines))
    figure.legend(
        lines, [name.replace("$", r"\$") for name in names], loc="outside lower left", fontsize=8, frameon=False
    )


def _effect(key: str, rows: Sequence[Row], others: bool) -> Figure:
    place, scale = _scale([row.setting.values[key] for row in rows])
    values, places = list(place), list(place.values())
    words = scale == "words"
    figure, axes = _figure(max(4.2, 0.75 * len(values)) if words else 4.2)
    variants = [variant for variant in VARIANTS if any(variant in row.miou for row in rows)]
    for number, variant in enumerate(variants):
        shift = 0.16 * (number - (len(variants) - 1) / 2) if words else 0.0
        colour = COLOURS[variant]
        scored = [row for row in rows if variant in row.miou]
        if others:
            for line in _lines(scored, key):
                at = [place[row.setting.values[key]] + shift for row in line]
                axes.plot(at, [100 * row.miou[variant].mean for row in line], color=colour, alpha=0.3, linewidth=0.8)
        by_value: dict[str, list[float]] = {value: [] for value in values}
        for row in scored:
            by_value[row.setting.values[key]] += [100 * value for value in row.miou[variant].values]
        at = [place[value] + shift for value, found in by_value.items() if found]
        runs = [Spread(tuple(found)) for found in by_value.values() if found]
        axes.errorbar(
            at,
            [found.mean for found in runs],
            [found.deviation or 0 for found in runs],
            fmt=MARKERS[variant],
            linestyle="none" if words else "-",
            color=colour,
            capsize=3,
            linewidth=1.6,
            label=TITLES[variant],
        )
        for where, found in zip(at, runs, strict=True):
            beside = where + (0.07 if words else 0.0)
            axes.plot([beside] * len(found.values), found.values, ".", color=colour, markersize=3, alpha=0.6)
    if scale == "log":
        axes.set_xscale("log")
        axes.minorticks_off()
    slanted = max(map(len, values)) * len(values) > 40
    axes.set_xticks(places, values, fontsize=8, parse_math=False, rotation=30 if slanted else 0)
    if slanted:
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
    axes.set_xlabel(f"{key} (not to scale)" if scale == "even" else key, parse_math=False)
    axes.set_ylabel("mean IoU, %")
    axes.margins(x=0.1)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    return figure


def _scale(values: Sequence[str]) -> tuple[dict[str, float], str]:
    """Where each value lies on an axis, and which: ``words``, or for numbers ``linear``, ``log``, or ``even`` in their
    order where on the others two would lie too close to be told apart."""
    try:
        place = {value: float(value) for value in sorted(dict.fromkeys(values), key=float)}
    except ValueError:
        return {value: float(number) for number, value in enumerate(dict.fromkeys(values))}, "words"
    numbers = np.array(list(place.values()))
    scale = "log" if numbers[0] > 0 and numbers[-1] >= 20 * numbers[0] else "linear"
    at = np.log(numbers) if scale == "log" else numbers
    if len(at) > 1 and np.diff(at).min() <= 0.06 * (at[-1] - at[0]):
        return {value: float(number) for number, value in enumerate(place)}, "even"
    return place, scale


def _lines(rows: Sequence[Row], key: str) -> list[list[Row]]:
    """Rows that differ in ``key`` alone, in the order of its values."""
    lines: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        rest = tuple(value for name, value in row.setting.values.items() if name != key)
        lines.setdefault(rest, []).append(row)
    return list(lines.values())


def _over_seeds(runs: Sequence[Run], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps (n), and the values (runs, n) of the runs at them; up to the last step that all runs logged."""
    curves = [curve for run in runs if len((curve := run.curve(key))[0])]
    if not curves:
        return np.zeros(0), np.zeros((0, 0))
    end = min(steps[-1] for steps, _ in curves)
    steps = curves[0][0][curves[0][0] <= end]
    steps = steps[np.unique(np.linspace(0, len(steps) - 1, POINTS).round().astype(int))] if len(steps) else steps
    smoothed = [(at, smooth(values) if key.startswith("train/") else values) for at, values in curves]
    return steps, np.stack([np.interp(steps, at, values) for at, values in smoothed])


def _dots(
    study: Study,
    spreads: Sequence[Mapping[str, Spread]],
    ways: Sequence[Style],
    values: Callable[[Spread], Sequence[float]],
) -> Figure | None:
    """A row a class, in it a dot a setting, and a line from its lowest to its highest seed."""
    if not any(spreads):
        return None
    reach = 0.36 if len(spreads) > 1 else 0.0
    figure, axes = _figure(4.6, (0.2 + 0.055 * len(spreads)) * len(study.scored) + 0.8)
    shifts = np.linspace(-reach, reach, len(spreads))
    for found, way, shift in zip(spreads, ways, shifts, strict=True):
        for number, name in enumerate(study.scored):
            if name in found:
                points = values(found[name])
                axes.plot([min(points), max(points)], [number + shift] * 2, color=way.colour, linewidth=1.2, alpha=0.6)
                axes.plot(np.mean(points), number + shift, way.mark, color=way.colour, markersize=4)
    for number in range(1, len(study.scored)):
        axes.axhline(number - 0.5, color="#dddddd", linewidth=0.6, zorder=0)
    name_ticks(axes.yaxis, study.scored, 8)
    axes.set_ylim(len(study.scored) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    return figure


def _figure(width: float = 4.2, height: float = 2.8) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    return figure, axes
