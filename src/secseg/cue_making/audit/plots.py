"""Precision, recall and coverage of cues by class, as bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from secseg.cue_making.audit.audit_tables import is_voc
from secseg.cue_making.audit.official import OFFICIAL_QUALITY, QUALITY_SOURCE
from secseg.utils.console import percent

COLOURS = {"precision": "C0", "recall": "C2", "coverage": "C0"}


def classes_figure(audit: Mapping[str, Any]) -> Figure:
    """Draw precision and recall of each class as bars, or without masks the coverage; classes without cues and truth
    are left out. Cues of VOC's classes have the official file's values as black marks.

    Args:
        audit: what :func:`~secseg.cue_making.audit.audit_cues` returns.
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
    places = np.arange(len(classes))
    for column, (axes, key) in enumerate(zip(figure.subplots(1, len(keys), squeeze=False)[0], keys, strict=True)):
        values = [entry[key] for entry in classes.values()]
        axes.barh(places, [100 * (value or 0) for value in values], 0.7, color=COLOURS[key])
        for place, value in zip(places, values, strict=True):
            axes.annotate(
                percent(value),
                (100 * (value or 0), place),
                xytext=(7, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
        marks = {
            place: 100 * share
            for place, name in enumerate(classes)
            if (share := official.get(name, {}).get(key)) is not None
        }
        if marks:
            axes.plot(list(marks.values()), list(marks), "|", color="black", markersize=11, markeredgewidth=2)
        axes.set_yticks(places, list(classes) if column == 0 else [""] * len(classes), fontsize=9, parse_math=False)
        axes.set_ylim(len(classes) - 0.4, -0.6)
        if key == "coverage":
            axes.margins(x=0.15)
        else:
            axes.set_xlim(0, 112)
            axes.set_xticks(range(0, 101, 20))
        axes.set_xlabel(f"{key}, %" if key != "coverage" else "coverage in images with cues of the class, %")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", alpha=0.25)
        axes.set_axisbelow(True)
    if official:
        figure.supxlabel(f"black: official cues ({QUALITY_SOURCE})", fontsize=8.5)
    return figure
