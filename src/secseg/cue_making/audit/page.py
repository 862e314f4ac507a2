"""An audit as one page: figures, and the images that show best how good and how bad cues are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from secseg.cue_making.audit.compare import compare_cues
from secseg.cue_making.audit.examples import choose, read_examples
from secseg.cue_making.audit.measure import count_cues, summarize
from secseg.cue_making.audit.tables import OFFICIAL_QUALITY, QUALITY_SOURCE, audit_table, comparison_table, is_voc
from secseg.data.cues import CueStore
from secseg.data.splits import ImageSet
from secseg.drawing.html import figure_source, image_source, mask_source, render
from secseg.drawing.overlays import GalleryItem, cues_over_grey, hex_colour
from secseg.utils.console import percent
from secseg.utils.files import write_text

FIGURES = "audit.json"
"""The file that is written first: a folder without it holds no audit."""
COLOURS = {"precision": "C0", "recall": "C2", "coverage": "C0"}


def audit_file(
    store: CueStore,
    images: ImageSet,
    folder: str | Path,
    against: CueStore | None = None,
    scored: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Measure the cues of a split, write figures and page into ``folder``, and return the figures.

    Args:
        store: the cues; all images of the split have to be in it.
        images: the split. Masks that exist are used.
        folder: made if it is missing. It gets ``audit.json`` (the figures) and ``audit.html``, each written as a whole.
        against: cues to compare with.
        scored: names of the classes that the means of precision and recall run over; all by default.

    Returns:
        What ``audit_cues`` returns, and ``against``: None or what ``compare_cues`` returns, ``store`` first.

    An image that cannot be read is left out of the page, with a warning.

    Raises:
        UserError: as ``count_cues``; if ``against`` has none of the images; if the folder cannot be written.
    """
    masks = masks_of(images)
    counts = count_cues(store, images.class_names, masks, images.names)
    figures = {**summarize(counts, store.provenance.get("overlaps"), scored), "against": None}
    tables = [audit_table(figures)]
    if against is not None:
        figures["against"] = compare_cues(store, against, images.names, images.class_names, masks, scored)
        tables.append(comparison_table(figures["against"], "cues", "against"))
    write_text(Path(folder) / FIGURES, json.dumps(figures, indent=2, allow_nan=False) + "\n")
    sections = choose(counts)
    items = read_examples(sections, counts.names, store, images, masks)
    tiles = {row: _tiles(item, images) for row, item in items.items()}
    colours = [hex_colour(images.palette[number]) for number in range(len(images.class_names))]
    page = render(
        "audit.html",
        title=f"Cues of {images.title}",
        tables=tables,
        bars=figure_source(classes_figure(figures)),
        with_truth=any(item.mask is not None for item in items.values()),
        legend=list(zip(images.class_names, colours, strict=True)),
        sections=[
            (title, [(tiles[row], f"{counts.names[row]}: {caption}") for row, caption in shown if row in tiles])
            for title, shown in sections
        ],
    )
    write_text(Path(folder) / "audit.html", page)
    return figures


def masks_of(images: ImageSet) -> dict[str, Path]:
    """Return the masks of a split that exist, by image id."""
    pairs = zip(images.names, images.masks or (), strict=False)
    return {name: path for name, path in pairs if path.is_file()}


def classes_figure(audit: Mapping[str, Any]) -> Figure:
    """Draw precision and recall of each class as bars or, without masks, the coverage.

    Classes without cues and truth are left out. Cues of VOC's classes have the official file's values as black marks.

    Args:
        audit: what ``audit_cues`` returns.
    """
    keys = ("precision", "recall") if audit["masks"] else ("coverage",)
    classes = {
        name: values for name, values in audit["classes"].items() if any(values[key] is not None for key in keys)
    }
    official = OFFICIAL_QUALITY if audit["masks"] and is_voc(audit) else {}
    figure = Figure(
        figsize=(2 + 3.4 * len(keys), 0.24 * len(classes) + 1.4), dpi=100, layout="constrained", facecolor="white"
    )
    FigureCanvasAgg(figure)
    for column, (axes, key) in enumerate(zip(figure.subplots(1, len(keys), squeeze=False)[0], keys, strict=True)):
        known = [official.get(name, {}).get(key) for name in classes]
        _draw_bars(axes, key, [values[key] for values in classes.values()], known)
        names = list(classes) if column == 0 else [""] * len(classes)
        axes.set_yticks(range(len(classes)), names, fontsize=9, parse_math=False)
        axes.set_ylim(len(classes) - 0.4, -0.6)
    if official:
        figure.supxlabel(f"black: official cues ({QUALITY_SOURCE})", fontsize=8.5)
    return figure


def _draw_bars(axes: Axes, key: str, values: Sequence[float | None], known: Sequence[float | None]) -> None:
    """Draw one bar per class, and a mark where there is an official value."""
    lengths = [100 * (value or 0) for value in values]
    axes.barh(np.arange(len(values)), lengths, 0.7, color=COLOURS[key])
    for place, (value, length) in enumerate(zip(values, lengths, strict=True)):
        at = (length, place)
        axes.annotate(percent(value), at, xytext=(7, 0), textcoords="offset points", va="center", fontsize=8)
    marks = {place: 100 * share for place, share in enumerate(known) if share is not None}
    if marks:
        axes.plot(list(marks.values()), list(marks), "|", color="black", markersize=11, markeredgewidth=2)
    if key == "coverage":
        axes.margins(x=0.15)
    else:
        axes.set_xlim(0, 112)
        axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel(f"{key}, %" if key != "coverage" else "coverage in images with cues of the class, %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)


def _tiles(item: GalleryItem, images: ImageSet) -> list[tuple[str, str]]:
    """Return the title and the address of each picture of an image."""
    tiles = [("image", image_source(item.image))]
    if item.cues is not None:
        tiles.append(("cues", image_source(cues_over_grey(item.image, item.cues, images.palette))))
    if item.mask is not None:
        tiles.append(("ground truth", mask_source(item.mask, images.palette)))
    return tiles
