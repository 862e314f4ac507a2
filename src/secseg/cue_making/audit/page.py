"""An audit as one page: figures, and the images that show best how good and how bad cues are."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from secseg.cue_making.audit.compare import compare_cues
from secseg.cue_making.audit.cue_warnings import cue_warnings
from secseg.cue_making.audit.label_check import compare_labels, label_table
from secseg.cue_making.audit.measure import CueCounts, count_cues, summarize
from secseg.cue_making.audit.sizes import estimate_errors, sizes_table
from secseg.cue_making.audit.tables import (
    OFFICIAL_QUALITY,
    QUALITY_SOURCE,
    audit_rows,
    comparison_table,
    explanation,
    is_voc,
    sources,
)
from secseg.data.cues import CueStore
from secseg.data.images import read_image
from secseg.data.labels import FoundLabels
from secseg.data.splits import ImageSet
from secseg.drawing.html import figure_source, image_source, mask_source, render
from secseg.drawing.overlays import cues_over_grey, hex_colour
from secseg.utils.console import percent
from secseg.utils.files import write_text
from secseg.utils.parallel import in_parallel
from secseg.utils.resizing import reduce_image, resize_mask

log = logging.getLogger(__name__)

FIGURES = "audit.json"
"""The file that is written first: a folder without it holds no audit."""
SIDE = 240
"""Longer side of the images on the page, in pixels."""
FEWEST = 10
"""Fewest cue cells of an image whose precision is shown."""
MOST_CLASSES = 30
"""Most classes that have sections of their own on the page: those with cues in the most images."""
COLOURS = {"precision": "C0", "recall": "C2", "coverage": "C0"}


def audit_file(
    store: CueStore,
    images: ImageSet,
    folder: str | Path,
    against: CueStore | None = None,
    scored: Sequence[str] | None = None,
    warnings: Sequence[str] = (),
    labels: FoundLabels | None = None,
) -> dict[str, Any]:
    """Measure the cues of a split, write figures and page into ``folder``, and return the figures.

    Args:
        store: the cues; all images of the split have to be in it.
        images: the split. Masks that exist are used.
        folder: made if it is missing. It gets ``audit.json`` (the figures) and ``audit.html``, each written as a whole.
        against: cues to compare with.
        scored: as for ``summarize``.
        warnings: texts about the data, which the page shows above those about the cues.
        labels: labels to compare with those of the cue file.

    Returns:
        What ``summarize`` returns; ``warnings``, those of ``cue_warnings``; ``label_differences``: None or what
        ``compare_labels`` returns; ``against``: None or what ``compare_cues`` returns, ``store`` first; and ``sizes``,
        what ``estimate_errors`` returns.

    Raises:
        UserError: as ``count_cues``; if ``against`` has none of the images; if the folder cannot be written.
    """
    masks = {name: path for name, path in zip(images.names, images.masks or (), strict=False) if path.is_file()}
    counts = count_cues(store, images.class_names, masks, images.names, images.read_mask)
    found = cue_warnings(counts, store.provenance, scored)
    differences = None if labels is None else compare_labels(counts, labels)
    sizes = estimate_errors(counts, store, images)
    figures = {**summarize(counts, scored), "warnings": found, "label_differences": differences, "against": None}
    figures["sizes"] = sizes
    tables = [] if differences is None else [label_table(differences)]
    if sizes:
        tables.append(sizes_table(sizes))
    if against is not None:
        figures["against"] = compare_cues(
            store, against, images.names, images.class_names, masks, scored, images.read_mask
        )
        tables.append(comparison_table(figures["against"]))
    write_text(Path(folder) / FIGURES, json.dumps(figures, indent=2, allow_nan=False) + "\n")
    whole, classes = audit_rows(figures)
    shown = {
        **{"warnings": [*warnings, *found], "whole": whole, "classes": classes, "tables": tables},
        **{"explanation": explanation(figures), "sources": sources(figures)},
        "bars": figure_source(classes_figure(figures)),
    }
    write_text(Path(folder) / "audit.html", _page(counts, store, images, masks, shown))
    return figures


def _page(
    counts: CueCounts, store: CueStore, images: ImageSet, masks: Mapping[str, Path], shown: Mapping[str, Any]
) -> str:
    """Return the page: what is ``shown`` for all images, and the images that are chosen."""
    sections = choose(counts)
    tiles = read_tiles(sections, counts.names, store, images, masks)
    colours = map(hex_colour, images.palette[: len(images.class_names)])
    return render(
        "audit.html",
        **shown,
        title=f"Cues of {images.title}",
        with_truth=any(counts.masked[row] for row in tiles),
        legend=list(zip(images.class_names, colours, strict=True)),
        sections=[
            (title, [(tiles[row], f"{counts.names[row]}: {caption}") for row, caption in shown if row in tiles])
            for title, shown in sections
        ],
    )


class Section(NamedTuple):
    """Some images that have something in common: the row of each in the counts, and its caption."""

    title: str
    images: list[tuple[int, str]]


def choose(counts: CueCounts, most: int = 6, most_by_class: int = 3) -> list[Section]:
    """Choose images to show: of all, and of each class.

    Args:
        counts: the counted cues.
        most, most_by_class: images per section, and per section of a class.

    Returns:
        Images with labelled classes without a cue; of the images with a label, those with the fewest and the most
        foreground cues; with masks those of the lowest and
        highest precision. By class, with masks the lowest and highest precision of its cues, without masks its fewest
        and most cues; classes with cues in few images have no sections if there are many. Sections without images are
        left out.
    """
    missing, foreground = counts.without_cue.sum(axis=1), counts.cued[:, 1:].sum(axis=1)
    rows = np.flatnonzero(missing)
    without = _lowest(
        rows,
        -missing[rows],
        most,
        lambda row, _: f"without a cue: {', '.join(compress(counts.class_names, counts.without_cue[row]))}",
    )
    sections = [
        Section("Labelled classes without a cue", without),
        *_by_coverage("foreground", np.flatnonzero(counts.labelled.any(axis=1)), foreground / counts.cells, most),
        *_by_precision("", counts.known.sum(axis=1), counts.right.sum(axis=1), most),
    ]
    with_cues = (counts.cued > 0).sum(axis=0)
    for number in sorted(np.argsort(-with_cues, kind="stable")[:MOST_CLASSES].tolist()):
        name, cued = counts.class_names[number], counts.cued[:, number]
        if counts.masked.any():
            sections += _by_precision(name, counts.known[:, number], counts.right[:, number], most_by_class)
        else:
            sections += _by_coverage(name, np.flatnonzero(cued), cued / counts.cells, most_by_class)
    return [section for section in sections if section.images]


def read_tiles(
    sections: Sequence[Section], names: Sequence[str], store: CueStore, images: ImageSet, masks: Mapping[str, Path]
) -> dict[int, list[tuple[str, str]]]:
    """Return titles and data URLs of the pictures of each image in ``sections``, by row, 240 pixels on the longer side.

    An image that cannot be read is left out, with a warning.
    """
    paths = dict(zip(images.names, images.images, strict=True))

    def read(row: int) -> list[tuple[str, str]]:
        name = names[row]
        small = reduce_image(read_image(paths[name]), SIDE)
        cues = cues_over_grey(small, store[name].map, images.palette)
        tiles = [("image", image_source(small)), ("cues", image_source(cues))]
        if name in masks:
            truth = resize_mask(images.read_mask(masks[name]), small.shape[:2])
            tiles.append(("ground truth", mask_source(truth, images.palette)))
        return tiles

    found = {}
    for row, tiles in in_parallel(read, sorted({row for section in sections for row, _ in section.images})):
        if isinstance(tiles, Exception):
            log.warning("%s is not among the pictures: %s", names[row], tiles)
        else:
            found[row] = tiles
    return found


def _by_coverage(name: str, rows: np.ndarray, shares: np.ndarray, most: int) -> list[Section]:
    """The images among ``rows`` with the fewest and the most cues of a class, or of the foreground."""
    what = "covered" if name == "foreground" else f"{name} covered"
    return _extremes(("fewest cues", "most cues"), name, rows, shares[rows], most, what)


def _by_precision(name: str, known: np.ndarray, right: np.ndarray, most: int) -> list[Section]:
    """The images with the lowest and the highest precision of their cues (of a class)."""
    rows = np.flatnonzero(known >= FEWEST)
    return _extremes(("lowest precision", "highest precision"), name, rows, right[rows] / known[rows], most, "right")


def _extremes(
    titles: tuple[str, str], name: str, rows: np.ndarray, values: np.ndarray, most: int, what: str
) -> list[Section]:
    """The lowest and the highest values; no image is in both."""
    low_title, high_title = (f"{name}: {title}" if name else title.capitalize() for title in titles)
    count = min(most, (len(rows) + 1) // 2)
    low = _lowest(rows, values, count, lambda _, value: f"{percent(value)} % {what}")
    rest = ~np.isin(rows, [row for row, _ in low])
    high = _lowest(rows[rest], -values[rest], count, lambda _, value: f"{percent(-value)} % {what}")
    return [Section(low_title, low), Section(high_title, high)]


def _lowest(
    rows: np.ndarray, values: np.ndarray, most: int, caption: Callable[[int, float], str]
) -> list[tuple[int, str]]:
    """The rows of the lowest values, with captions."""
    order = np.argsort(values, kind="stable")[:most]
    return [(int(rows[place]), caption(int(rows[place]), float(values[place]))) for place in order]


def classes_figure(audit: Mapping[str, Any]) -> Figure:
    """Draw precision and recall of each class as bars or, without masks, the coverage.

    Classes without cues and truth are left out. Cues of VOC's classes have the official file's values as black marks.

    Args:
        audit: what ``summarize`` returns.
    """
    keys = ("precision", "recall") if audit["masks"] else ("coverage",)
    found = audit["classes"].items()
    classes = {name: values for name, values in found if any(values[key] is not None for key in keys)}
    official = OFFICIAL_QUALITY if audit["masks"] and is_voc(audit) else {}
    size = (2 + 3.4 * len(keys), 0.24 * len(classes) + 1.4)
    figure = Figure(figsize=size, dpi=100, layout="constrained", facecolor="white")
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
    bars = axes.barh(np.arange(len(values)), lengths, 0.7, color=COLOURS[key])
    axes.bar_label(bars, [percent(value) for value in values], padding=7, fontsize=8)
    marks = {place: 100 * share for place, share in enumerate(known) if share is not None}
    if marks:
        axes.plot(list(marks.values()), list(marks), "|", color="black", markersize=11, markeredgewidth=2)
    if key == "coverage":
        axes.margins(x=0.15)
    else:
        axes.set_xlim(0, 112)
        axes.set_xticks(range(0, 101, 20))
    axes.set_title(f"{key} of the cues", fontsize=10)
    axes.set_xlabel(f"{key}, %" if key != "coverage" else "coverage in images with cues of the class, %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)
