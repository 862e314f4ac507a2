"""A comparison of two cue files as text for the terminal, and as CSV."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from secseg.cue_making.audit.audit_tables import image_quality
from secseg.cue_making.audit.compare import Comparison
from secseg.cue_making.audit.summary import ratio
from secseg.utils.console import percent, table
from secseg.utils.files import csv_text


def comparison_table(figures: Mapping[str, Any], first: str = "first", second: str = "second") -> str:
    """Return a comparison as text: where the files agree, then both files side by side by class, shares in percent.

    Args:
        figures: what :func:`~secseg.cue_making.audit.compare.compare_cues` returns.
        first, second: titles of the two files.
    """
    images, sides = figures["images"], (figures["first"], figures["second"])
    whole = [
        ["images in both", str(images["shared"])],
        [f"images only in {first}", str(images["only_first"])],
        [f"images only in {second}", str(images["only_second"])],
        ["images with equal maps", str(figures["identical"])],
        ["images whose labels differ", str(len(figures["labels_differ"]))],
        ["same class where both have a cue, %", percent(figures["agreement"])],
        ["locations whose value differs, %", percent(figures["difference"])],
        ["mean overlap of the classes' cues, %", percent(figures["overlap"])],
    ]
    for part in ("background", "foreground"):
        for title, side in zip((first, second), sides, strict=True):
            whole.append([f"mean coverage, {part}, %, {title}", percent(side["coverage"][part])])
    shown = ("precision", "recall") if sides[0]["masks"] else ()
    above = ["", "", *(cell for key in shown for cell in (key, ""))]
    rows = [above, ["class", "overlap", *(title for _ in shown for title in (first, second))]]
    for name, values in figures["classes"].items():
        cells = [percent(side["classes"][name][key]) for key in shown for side in sides]
        rows.append([name, percent(values["overlap"]), *cells])
    if shown:
        rows.append(["mean of the scored", "", *(percent(side["masks"][key]) for key in shown for side in sides)])
    return "\n".join([table(whole), "", table(rows if shown else rows[1:])])


def comparison_csv(comparison: Comparison) -> str:
    """Return one row an image as CSV, the most different first: ``difference`` (share of the locations whose value
    differs), ``agreement`` (of the locations where both have a cue, the share with the same class), share of the
    locations with a cue in the first and second, whether the labels differ; with masks each one's precision and the
    second's minus the first's. What has no value is empty."""
    counts = (comparison.first, comparison.second)
    columns: dict[str, list[Any]] = {
        "image": list(comparison.names),
        "difference": comparison.difference.tolist(),
        "agreement": [ratio(*pair) for pair in zip(comparison.same.tolist(), comparison.both.tolist(), strict=True)],
    }
    for key, part in zip(("first", "second"), counts, strict=True):
        columns[f"coverage_{key}"] = (part.cued.sum(axis=1) / part.locations).tolist()
    columns["labels_differ"] = [str(differ).lower() for differ in comparison.labels_differ.tolist()]
    if len(comparison.first.masked):
        first, second = (image_quality(part)["precision"] for part in counts)
        columns |= {"precision_first": first, "precision_second": second}
        columns["precision_difference"] = [
            None if a is None or b is None else b - a for a, b in zip(first, second, strict=True)
        ]
    rows = list(zip(*columns.values(), strict=True))
    order = np.argsort(-comparison.different, kind="stable").tolist()
    return csv_text([list(columns), *(["" if cell is None else cell for cell in rows[row]] for row in order)])
