"""An audit in a folder: figures, tables, pictures."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from secseg.cue_making.audit.audit_tables import audit_table, classes_csv, images_csv
from secseg.cue_making.audit.compare import match, summarize_comparison
from secseg.cue_making.audit.compare_tables import comparison_csv, comparison_table
from secseg.cue_making.audit.counts import CueCounts, count_cues
from secseg.cue_making.audit.examples import choose, gallery_item
from secseg.cue_making.audit.page import audit_figure, audit_page
from secseg.cue_making.audit.plots import classes_figure
from secseg.cue_making.audit.summary import summarize
from secseg.data.cues.cue_files import CueStore
from secseg.data.splits import ImageSet
from secseg.drawing.overlays import GalleryItem
from secseg.drawing.panels import save_figure
from secseg.utils.files import write_text
from secseg.utils.parallel import side_by_side

log = logging.getLogger(__name__)

ROWS = 3
"""Images of each kind in ``audit.png``."""


def audit(
    store: CueStore,
    images: ImageSet,
    folder: str | Path,
    against: CueStore | None = None,
    scored: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Measure the cues of a split, write all about them into ``folder``, and return the figures.

    Args:
        store: the cues; images of the split have to be in it.
        images: the split. Masks that are there are used.
        folder: where to write, as :func:`write_audit` does; with ``against`` also ``comparison.json`` and
            ``comparison.csv``.
        against: cues to compare with.
        scored: names of the classes that the means of precision and recall run over; all by default.

    Returns:
        What :func:`~secseg.cue_making.audit.audit_cues` returns, with ``against``: None or what
        :func:`~secseg.cue_making.audit.compare.compare_cues` returns, ``store`` first.

    Raises:
        UserError: as :func:`~secseg.cue_making.audit.count_cues`; if ``against`` has none of the images; if the
            folder cannot be written.
    """
    masks, compared = masks_of(images), None
    counts = count_cues(store, images.class_names, masks, images.names)
    figures = summarize(counts, store.provenance.get("overlaps"), scored)
    if against is not None:
        comparison = match(store, against, images.names, images.class_names, masks)
        compared = summarize_comparison(comparison, scored)
        write_text(Path(folder) / "comparison.json", _json(compared))
        write_text(Path(folder) / "comparison.csv", comparison_csv(comparison))
    write_audit(folder, figures, counts, store, images, compared)
    return {**figures, "against": compared}


def write_audit(
    folder: str | Path,
    figures: dict[str, Any],
    counts: CueCounts,
    store: CueStore,
    images: ImageSet,
    compared: dict[str, Any] | None = None,
) -> None:
    """Write an audit into ``folder``: each file whole or not at all.

    Args:
        folder: made where it is missing.
        figures: what :func:`~secseg.cue_making.audit.summarize` returns for ``counts``.
        counts: of the images to write about.
        store: their cues.
        images: their photographs, masks and colours.
        compared: what :func:`~secseg.cue_making.audit.compare.compare_cues` returns, for the page.

    Files: ``audit.json``, ``classes.csv``, ``images.csv``, ``classes.png`` (figures by class), ``audit.png`` (a few
    images) and ``audit.html`` (all of it, with more images). A photograph that cannot be read is left out, with a
    warning.

    Raises:
        UserError: if the folder cannot be written.
    """
    folder = Path(folder)
    bars = classes_figure(figures)
    texts = {
        "audit.json": _json(figures),
        "classes.csv": classes_csv(figures),
        "images.csv": images_csv(counts),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    save_figure(bars, folder / "classes.png")
    sections = choose(counts)
    items = _read(sorted({row for section in sections for row in section.rows}), counts, store, images)
    title = f"Cues of {images.title}"
    tables = [audit_table(figures), *([] if compared is None else [comparison_table(compared, "cues", "against")])]
    write_text(folder / "audit.html", audit_page(title, tables, bars, sections, items, images))
    few = [section for section in choose(counts, ROWS, 0) if any(row in items for row in section.rows)]
    if few:
        save_figure(audit_figure(few[-2:], items, images), folder / "audit.png")


def masks_of(images: ImageSet) -> dict[str, Path]:
    """Return the masks of a split that are there, by image id."""
    pairs = zip(images.names, images.masks or (), strict=False)
    return {name: path for name, path in pairs if path.is_file()}


def _read(rows: list[int], counts: CueCounts, store: CueStore, images: ImageSet) -> dict[int, GalleryItem]:
    masks = masks_of(images)
    items = {}
    for row, item in side_by_side(lambda row: gallery_item(counts.names[row], store, images, masks), rows):
        if isinstance(item, Exception):
            log.warning("%s is not among the pictures: %s", counts.names[row], item)
        else:
            items[row] = item
    return items


def _json(figures: dict[str, Any]) -> str:
    return json.dumps(figures, indent=2, allow_nan=False) + "\n"
