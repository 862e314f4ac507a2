"""Panels of images with their cues, predictions and ground truth; curves of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from secseg.data.classes import VOID
from secseg.drawing.fonts import save_in_any_script
from secseg.drawing.overlays import VOID_COLOUR, GalleryItem, colorize, cues_over_grey, hex_colour, over_grey
from secseg.runs.run_reader import curve, read_metrics
from secseg.utils.files import atomic_write

ABSENT = {"ground truth": "no mask", "cues": "no cues"}
"""What an empty cell of a column shows."""


def panel(items: Sequence[GalleryItem], class_names: Sequence[str], palette: np.ndarray) -> Figure:
    """Draw a row for each image: image, cues, prediction, prediction after the CRF, ground truth; and a legend.

    Columns without content are left out, and a cell without content says so. The legend has only the classes that occur
    in the masks.
    """
    columns: dict[str, list[np.ndarray | None]] = {
        "image": [item.image for item in items],
        "cues": [None if item.cues is None else cues_over_grey(item.image, item.cues, palette) for item in items],
        "prediction": [_predicted(item.image, item.prediction, palette) for item in items],
        "prediction + CRF": [_predicted(item.image, item.prediction_crf, palette) for item in items],
        "ground truth": [None if item.mask is None else colorize(item.mask, palette) for item in items],
    }
    columns = {title: cells for title, cells in columns.items() if any(cell is not None for cell in cells)}
    heights = [2.1 * item.image.shape[0] / item.image.shape[1] for item in items]
    heights = [min(max(height, 1.2), 2.6) for height in heights]
    classes = _classes_shown(items, len(class_names))
    legend = 0.18 * -(-len(classes) // 6) + 0.3
    figure = Figure(figsize=(2.2 * len(columns), sum(heights) + 0.3 + legend), dpi=80, facecolor="white")
    total = figure.get_figheight()
    grid = figure.add_gridspec(
        len(items),
        len(columns),
        height_ratios=heights,
        left=0.01,
        right=0.99,
        top=1 - 0.28 / total,
        bottom=legend / total,
        wspace=0.03,
        hspace=0.04,
    )
    for column, (title, cells) in enumerate(columns.items()):
        for row, cell in enumerate(cells):
            axes = figure.add_subplot(grid[row, column])
            axes.set_axis_off()
            if row == 0:
                axes.set_title(title, fontsize=9, pad=4)
            if cell is None:
                absent = ABSENT.get(title, "none")
                axes.text(0.5, 0.5, absent, ha="center", va="center", fontsize=9, color="#666666")
            else:
                axes.imshow(cell, interpolation="nearest" if title == "ground truth" else "antialiased")
    patches = class_patches({c: class_names[c] for c in classes}, palette)
    if any(item.mask is not None and (item.mask == VOID).any() for item in items):
        patches.append(Patch(facecolor=hex_colour(VOID_COLOUR), edgecolor="#888888", label="void"))
    figure.legend(handles=patches, loc="lower center", ncols=min(len(patches), 6), fontsize=8, frameon=False)
    return figure


def class_patches(names: Mapping[int, str], palette: np.ndarray) -> list[Patch]:
    """Return the entry of each class in a legend: its colour in ``palette`` (256, 3) uint8, and its name."""
    return [
        Patch(facecolor=hex_colour(palette[number]), edgecolor="#888888", label=name.replace("$", r"\$"))
        for number, name in names.items()  # two dollar signs would start mathematics
    ]


def curves(metrics_csv: Path, colors: Mapping[str, str]) -> Figure:
    """Draw the loss, its terms and the mean IoU over the steps, from the sparse rows of a run's ``metrics.csv``.

    ``colors`` has the terms of the loss, each with the colour of its curve.
    """
    rows = read_metrics(metrics_csv)
    figure = Figure(figsize=(10, 3.6), dpi=100, layout="constrained", facecolor="white")
    terms, scores = figure.subplots(1, 2)
    for term, colour in {"loss": "#222222", **colors}.items():
        steps, values = curve(rows, f"train/{term}")
        if len(steps):
            terms.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
            terms.plot(steps, smooth(values), color=colour, label=term, linewidth=1.6)
    for key, label, marker in (("val/miou", "without CRF", "o"), ("val/miou_crf", "with CRF", "s")):
        steps, values = curve(rows, key)
        if len(steps):
            scores.plot(steps, 100 * values, marker=marker, label=label, linewidth=1.6)
            scores.annotate(
                f"{100 * values[-1]:.1f}",
                (steps[-1], 100 * values[-1]),
                fontsize=8,
                xytext=(4, 4),
                textcoords="offset points",
            )
    terms.set(xlabel="step", title="training loss", ylim=(0, None))
    scores.set(xlabel="step", title="mean IoU on the validation split, %", xlim=(0, None))
    for axes in (terms, scores):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=4)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG. An interrupted write leaves no partial file."""
    with atomic_write(path) as temporary:
        save_in_any_script(figure, lambda: figure.savefig(temporary, format="png"))


def _predicted(image: np.ndarray, mask: np.ndarray | None, palette: np.ndarray) -> np.ndarray | None:
    return None if mask is None else over_grey(image, mask, palette, 0.28, 0.65)


def _classes_shown(items: Sequence[GalleryItem], count: int) -> list[int]:
    shown: set[int] = set()
    for item in items:
        for mask in (item.cues, item.prediction, item.prediction_crf, item.mask):
            if mask is not None:
                shown.update(np.unique(mask).tolist())
    return sorted(number for number in shown if number < count)


def smooth(values: np.ndarray, share: float = 0.05) -> np.ndarray:
    """Return the running mean over about ``share`` of the run. Its window is symmetric, and so narrower at the ends."""
    half = int(share * len(values) / 2)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    reach = np.minimum(np.minimum(at, len(values) - 1 - at), half)
    return (sums[at + reach + 1] - sums[at - reach]) / (2 * reach + 1)
