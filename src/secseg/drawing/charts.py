"""Charts of an evaluation: confusion matrix, IoU and size bias of each class, mean IoU near boundaries."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

LABELS = {"without_crf": "without CRF", "with_crf": "with CRF"}
COLOURS = {"without_crf": "C0", "with_crf": "C1"}
MARKERS = {"without_crf": "o", "with_crf": "s"}
MOST_NUMBERED = 30
"""Values are written into the chart only if it has at most so many classes."""
LONGEST = 4
"""Longest bar of the size bias, in powers of 2."""


def confusion_figure(
    confusion: np.ndarray, class_names: Sequence[str], scored: Sequence[str] | None = None, variant: str = "without_crf"
) -> Figure:
    """Draw a confusion matrix: for each true class (row), the percentage of its pixels with each prediction (column).

    The colour scale is the square root of the percentage, so that rare confusions are visible. Rows of classes without
    pixels are grey. Up to 12 classes, each cell has its number; up to 30, the cells of at least 1 %.

    Args:
        confusion: (C, C), pixels by (truth, prediction).
        class_names: names of the C classes.
        scored: classes that have a row and a column. All other classes share one, "other".
    """
    counts, names = _with_other(confusion, class_names, scored)
    truth = counts.sum(1, keepdims=True)
    percent = np.divide(100 * counts, truth, out=np.full(counts.shape, np.nan), where=truth > 0)
    size = len(names)
    cell, font = (0.6, 9) if size <= 12 else (0.38, 7.5) if size <= MOST_NUMBERED else (0.15, 7)
    margin = 0.1 + 0.085 * max(map(len, map(_short, names)))
    side = max(cell * size, 2.2)
    figure, axes = _figure(side + margin + 1.2, side + margin + 0.7)
    axes.set_facecolor("#dddddd")
    image = axes.imshow(percent, cmap="Blues", norm=PowerNorm(0.5, 0, 100))
    name_ticks(axes.xaxis, names, font)
    name_ticks(axes.yaxis, names, font)
    axes.tick_params(axis="x", rotation=90)
    axes.set(xlabel="prediction", ylabel="ground truth")
    axes.set_title(f"confusion {LABELS[variant]}, % of the true class", fontsize=11)
    if size <= MOST_NUMBERED:
        for row, column in zip(*np.nonzero(percent >= (0 if size <= 12 else 1)), strict=True):
            value = percent[row, column]
            text = f"{value:.0f}" if size > 12 else f"{value:.1f}"
            colour = "white" if value > 40 else "#222222"
            axes.text(column, row, text, ha="center", va="center", fontsize=font - 0.5, color=colour)
    bar = figure.colorbar(
        image, ax=axes, ticks=[0, 1, 5, 10, 25, 50, 100], shrink=0.8, aspect=30, pad=0.02, fraction=0.05
    )
    bar.ax.tick_params(labelsize=8)
    return figure


def boundary_figure(results: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw the mean IoU against the width of the band around boundaries, from ``Evaluation.compute`` by variant."""
    figure, axes = _figure(7, 4)
    ends: dict[int, list[tuple[float, str]]] = {}
    for variant, result in results.items():
        boundary = result["boundary"]
        values = 100 * np.array(boundary["miou"])
        axes.plot(
            boundary["widths"],
            values,
            color=COLOURS[variant],
            marker=MARKERS[variant],
            label=LABELS[variant],
            linewidth=1.6,
        )
        measured = np.flatnonzero(np.isfinite(values)).tolist()
        for end in dict.fromkeys([measured[0], measured[-1]] if measured else []):
            ends.setdefault(end, []).append((values[end], COLOURS[variant]))
    boundary = next(iter(results.values()))["boundary"]
    for end, labels in ends.items():
        for place, (value, colour) in enumerate(sorted(labels)):
            below = len(labels) > 1 and place == 0
            axes.annotate(
                f"{value:.1f}",
                (boundary["widths"][end], value),
                fontsize=9,
                color=colour,
                xytext=(0, -8 if below else 8),
                textcoords="offset points",
                ha="center",
                va="top" if below else "bottom",
            )
    axes.set_xscale("log")
    axes.minorticks_off()
    shares = ["" if math.isnan(share) else f"\n{100 * share:.0f} %" for share in boundary["share"]]
    ticks = [f"{width:g}{share}" for width, share in zip(boundary["widths"], shares, strict=True)]
    axes.set_xticks(boundary["widths"], ticks)
    axes.margins(x=0.07, y=0.18)
    axes.set(xlabel="width of the band in pixels; below, its share of all pixels", ylabel="mean IoU, %")
    axes.set_title("mean IoU near the boundaries of objects", fontsize=11)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    return figure


def iou_figure(results: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw the IoU of each scored class and the mean, from ``Evaluation.compute`` by variant."""
    names = next(iter(results.values()))["scored"]
    values = {variant: [100 * result["iou"][name] for name in names] for variant, result in results.items()}
    figure, axes = _bars(names, values, {variant: _texts(column, 1) for variant, column in values.items()})
    for variant, result in results.items():
        mean = 100 * result["miou"]
        if math.isfinite(mean):
            label = f"mean {LABELS[variant]}: {mean:.1f}"
            axes.axvline(mean, color=COLOURS[variant], linestyle="--", linewidth=1.2, label=label, zorder=0)
    axes.set(xlim=(0, 108), xlabel="IoU, %")
    axes.set_xticks(range(0, 101, 20))
    _finish(figure, axes, "IoU by class")
    return figure


def size_bias_figure(results: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw predicted area / true area of each scored class on a log2 axis, from ``Evaluation.compute`` by variant.

    Bars end at 1/16 and 16; their labels have the true value. A class without true pixels has no bar.
    """
    names = next(iter(results.values()))["scored"]
    biases = {variant: [result["size_bias"][name] for name in names] for variant, result in results.items()}
    values = {variant: log_ratios(bias) for variant, bias in biases.items()}
    figure, axes = _bars(names, values, {variant: _texts(column, 2) for variant, column in biases.items()})
    lengths = [abs(value) for column in values.values() for value in column if math.isfinite(value)]
    reach = max(1, math.ceil(max(lengths, default=0)))
    axes.axvline(0, color="#444444", linewidth=1)
    axes.set_xlim(-1.15 * reach, 1.15 * reach)
    label_ratios(axes, reach)
    _finish(figure, axes, "size bias by class: 1 is as large as the truth")
    return figure


def log_ratios(ratios: Sequence[float]) -> list[float]:
    """Return log2 of ratios, clipped to ``LONGEST``."""
    with np.errstate(divide="ignore"):
        return np.clip(np.log2(ratios), -LONGEST, LONGEST).tolist()


def label_ratios(axes: Axes, reach: int) -> None:
    """Label an x axis that shows ``log_ratios`` of predicted area / true area from ``-reach`` to ``reach``."""
    ticks = range(-reach, reach + 1)
    ratios = [f"1/{2**-tick}" if tick < 0 else f"{2**tick}" for tick in ticks]
    if reach == LONGEST:
        ratios[0], ratios[-1] = f"≤ {ratios[0]}", f"≥ {ratios[-1]}"
    axes.set_xticks(ticks, ratios)
    axes.set_xlabel("predicted area / true area")


def name_ticks(axis: Axis, names: Sequence[str], font: float) -> None:
    """Label the ticks 0, 1, ... of an axis with names; long names are cut."""
    axis.set_ticks(range(len(names)), [_short(name) for name in names], fontsize=font, parse_math=False)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    figure = Figure(figsize=(width, height), dpi=100, layout=layout, facecolor="white")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _bars(
    names: Sequence[str], values: Mapping[str, Sequence[float]], texts: Mapping[str, Sequence[str]]
) -> tuple[Figure, Axes]:
    """Draw horizontal bars, in a group for each class, the first class at the top. Up to 30 classes have texts."""
    few = len(names) <= MOST_NUMBERED
    height = (0.17 if few else 0.075) * len(values) + 0.1
    figure, axes = _figure(7.5, height * len(names) + 1.5)
    thickness = 0.8 / len(values)
    for number, (variant, lengths) in enumerate(values.items()):
        places = np.arange(len(names)) + thickness * (number - (len(values) - 1) / 2)
        drawn = np.nan_to_num(lengths)
        axes.barh(places, drawn, thickness * 0.9, color=COLOURS[variant], label=LABELS[variant])
        for place, length, text in zip(places, lengths, texts[variant], strict=True):
            if few:
                axes.annotate(
                    text,
                    (0 if math.isnan(length) else length, place),
                    xytext=(-4 if length < 0 else 4, 0),
                    textcoords="offset points",
                    ha="right" if length < 0 else "left",
                    va="center",
                    fontsize=8,
                    color="#888888" if math.isnan(length) else "#222222",
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.3},
                )
    name_ticks(axes.yaxis, names, 9 if few else 8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)
    return figure, axes


def _finish(figure: Figure, axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=11)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9)


def _with_other(
    confusion: np.ndarray, class_names: Sequence[str], scored: Sequence[str] | None
) -> tuple[np.ndarray, list[str]]:
    """Return counts and names of the scored classes, in the order of ``class_names``, and "other" as the last one."""
    names = [name for name in class_names if scored is None or name in scored]
    group = [names.index(name) if name in names else len(names) for name in class_names]
    if len(names) < len(class_names):
        names.append("other")
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts, (np.array(group)[:, None], np.array(group)[None]), confusion)
    return counts, names


def _texts(values: Sequence[float], digits: int) -> list[str]:
    return ["no pixels" if math.isnan(value) else f"{value:.{digits}f}" for value in values]


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}…"
