"""An audit as text for the terminal, and as CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from secseg.cue_making.audit.counts import CueCounts
from secseg.cue_making.audit.official import OFFICIAL, OFFICIAL_QUALITY, QUALITY_SOURCE, SOURCE
from secseg.cue_making.audit.summary import ratio
from secseg.data.classes import VOC_CLASSES
from secseg.utils.console import percent, table
from secseg.utils.files import csv_text


def audit_table(audit: Mapping[str, Any], title: str = "cues") -> str:
    """Return an audit as text: the figures of the whole, then those by class, shares in percent.

    Cues of VOC's classes have the official file's figures beside theirs.

    Args:
        audit: what :func:`~secseg.cue_making.audit.audit_cues` returns.
        title: heads the column of the audited cues.
    """
    with_official = is_voc(audit)
    columns = {title: _whole(audit), **({"official": _whole(OFFICIAL)} if with_official else {})}
    keys = dict.fromkeys(key for column in columns.values() for key in column)
    whole = [["", *columns], *([key, *(column.get(key, "0") for column in columns.values())] for key in keys)]
    lines = [table(whole), "", _class_table(audit, with_official)]
    if with_official:
        lines += ["", f"official: {SOURCE}"]
        lines += [f"official, by class: {QUALITY_SOURCE}"] if audit["masks"] else []
    return "\n".join(lines)


def _class_table(audit: Mapping[str, Any], with_official: bool) -> str:
    """A row a class; precision and recall, each with the official one to its right; and their means."""
    means = audit["masks"]
    shown = ("precision", "recall") if means else ()
    official = ["official"] if with_official else []
    rows = [["class", "labelled", "with cues", "coverage", *(c for key in shown for c in (key, *official))]]
    for name, values in audit["classes"].items():
        row = [name, _count(values["labelled"]), _count(values["with_cues"]), percent(values["coverage"])]
        for key in shown:
            known = OFFICIAL_QUALITY.get(name, {}).get(key)
            row += [percent(values[key]), *("" if known is None else percent(known, 0) for _ in official)]
        rows.append(row)
    if not means:
        return table(rows)
    all_scored = len(means["scored"]) == len(audit["classes"])
    for title, prefix in (
        ("mean" if all_scored else f"mean of {len(means['scored'])}", ""),
        ("foreground", "foreground_"),
    ):
        cells = [cell for key in shown for cell in (percent(means[prefix + key]), *("" for _ in official))]
        rows.append([title, "", "", "", *cells])
    return table(rows, rule=-2)


def classes_csv(audit: Mapping[str, Any]) -> str:
    """Return the figures by class as CSV; shares are in [0, 1], what has no value is empty."""
    columns = list(next(iter(audit["classes"].values())))
    rows = [[name, *("" if v is None else v for v in values.values())] for name, values in audit["classes"].items()]
    return csv_text([["class", *columns], *rows])


def images_csv(counts: CueCounts) -> str:
    """Return one row an image as CSV, in the order of the images: its labels; the share of its locations with a cue
    of the ``background``, of a ``foreground`` class and without (``unlabelled``); the labels that are
    ``without_cue``; where masks are, the columns of :func:`image_quality`. What has no value is empty."""
    shares = counts.cued / counts.locations
    header = ["image", "labels", "background", "foreground", "unlabelled", "without_cue"]
    quality = image_quality(counts) if len(counts.masked) else {}
    rows = []
    for row, name in enumerate(counts.names):
        background, foreground = float(shares[row, 0]), float(shares[row, 1:].sum())
        labels, without = (_names(counts.class_names, part[row]) for part in (counts.labelled, counts.without_cue))
        values = [column[row] for column in quality.values()]
        rows.append([name, labels, background, foreground, 1 - background - foreground, without, *values])
    return csv_text([[*header, *quality], *(["" if cell is None else cell for cell in row] for row in rows)])


def image_quality(counts: CueCounts) -> dict[str, list[float | None]]:
    """Return by image (N), from its mask without void: ``precision``, of all cue locations the share that lies on
    its class; ``foreground_precision`` and ``foreground_recall``, the same and the share found of the foreground
    classes' locations. None where there is no mask or no such location."""
    columns: dict[str, list[float | None]] = {}
    for title, part, whole, first in (
        ("precision", counts.right, counts.known, 0),
        ("foreground_precision", counts.right, counts.known, 1),
        ("foreground_recall", counts.right, counts.true, 1),
    ):
        column: list[float | None] = [None] * len(counts.names)
        for place, row in enumerate(counts.masked.tolist()):
            column[row] = ratio(part[place, first:].sum(), whole[place, first:].sum())
        columns[title] = column
    return columns


def is_voc(audit: Mapping[str, Any]) -> bool:
    """Return whether the audited cues are of VOC's classes, so that the official figures are of the same kind."""
    return tuple(audit["classes"]) == VOC_CLASSES


def _whole(audit: Mapping[str, Any]) -> dict[str, str]:
    locations, coverage, labels = audit["background_locations"], audit["coverage"], audit["labels"]
    cells = {
        "images": str(audit["images"]),
        "grid": " x ".join(map(str, audit["grid"])),
        "locations with two classes": _count(audit["overlaps"]),
        "images without a background cue": str(audit["images_without"]["background"]),
        "images without a foreground cue": str(audit["images_without"]["foreground"]),
        "labelled classes": str(labels["total"]),
        "labelled classes without a cue": str(labels["without_cue"]),
        "background locations an image, most": str(locations["most"]),
        "background locations an image, median": f"{locations['median']:g}",
        "background locations an image, least": str(locations["least"]),
        **{f"mean coverage, {part}, %": percent(share) for part, share in coverage.items()},
    }
    for number, images in audit["images_by_classes"].items():
        cells[f"images with {number} class{'' if number == '1' else 'es'}"] = str(images)
    return cells


def _count(value: int | None) -> str:
    return "-" if value is None else str(value)


def _names(class_names: Sequence[str], present: np.ndarray) -> str:
    return " ".join(name for name, there in zip(class_names, present, strict=True) if there)
