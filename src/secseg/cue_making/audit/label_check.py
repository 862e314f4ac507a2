"""The labels of a cue file compared with other labels of the same images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secseg.cue_making.audit.measure import CueCounts
from secseg.data.cue_labels import label_differences
from secseg.data.labels import FoundLabels
from secseg.utils.console import table
from secseg.utils.errors import some


def compare_labels(counts: CueCounts, labels: FoundLabels) -> dict[str, Any]:
    """Return where the labels of a cue file differ from ``labels``, as plain values.

    - ``source`` of the other labels; number of ``images``;
    - ``lacking``, ``extra``: images in which the labels of the cue file lack a class, and have one too many;
    - ``classes``: the same numbers for each class that has one, by name.
    """
    found = label_differences(counts.labelled, labels.labels, counts.names, counts.class_names)
    lacking, extra = (wrong.sum(0).tolist() for wrong in (found.lacking, found.extra))
    return {
        "source": labels.source,
        "images": len(counts.names),
        "lacking": int(found.lacking.any(1).sum()),
        "extra": int(found.extra.any(1).sum()),
        "classes": {
            name: {"lacking": lacking[number], "extra": extra[number]}
            for number, name in enumerate(counts.class_names)
            if lacking[number] or extra[number]
        },
    }


def label_line(figures: Mapping[str, Any]) -> str:
    """Return what ``compare_labels`` returns as one line."""
    if not figures["classes"]:
        return f"labels: those of the cue file equal {figures['source']} in all {figures['images']} images."

    def classes(key: str) -> str:
        named = {name: counts[key] for name, counts in figures["classes"].items() if counts[key]}
        listed = [f"{name} {named[name]}" for name in sorted(named, key=lambda name: -named[name])]
        return f" ({some(listed, 5)})" if listed else ""

    return (
        f"labels: against {figures['source']}, those of the cue file lack a class in {figures['lacking']} of "
        f"{figures['images']} images{classes('lacking')}, and have one too many in {figures['extra']}"
        f"{classes('extra')}."
    )


def label_table(figures: Mapping[str, Any]) -> str:
    """Return what ``compare_labels`` returns as text: the line, and the numbers by class."""
    rows = [
        [name, str(counts["lacking"]), str(counts["extra"])]
        for name, counts in sorted(figures["classes"].items(), key=lambda item: -sum(item[1].values()))
    ]
    head = ["class", "images without it in the cue file", "images with it only in the cue file"]
    return "\n\n".join([label_line(figures), *([table([head, *rows])] if rows else [])])
