"""Audits and comparisons of cue files as text for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secseg.data.classes import VOC_CLASSES
from secseg.utils.console import percent, table
from secseg.utils.text import part_of

SOURCE = "measured on the official file, all 10,582 images"
OFFICIAL: dict[str, Any] = {
    "images": 10_582,
    "grid": [41, 41],
    "overlaps": 0,
    "images_without": {"background": 0, "foreground": 0},
    "labels": {"total": 15_471, "without_cue": 0},
    "background_locations": {"most": 168, "median": 167, "least": 50},
    "coverage": {"background": 0.098, "foreground": 0.142, "unlabelled": 0.760},
    "images_by_classes": {"1": 6804, "2": 2857, "3": 758, "4": 136, "5": 27},
}
"""The figures of the official cue file, as ``summarize`` returns them."""

QUALITY_SOURCE = "measured on the official file, 1,538 images that show animals"
OFFICIAL_QUALITY: dict[str, dict[str, float | None]] = {
    "background": {"precision": 0.94, "recall": None},
    "cat": {"precision": 0.93, "recall": 0.27},
    "cow": {"precision": 0.85, "recall": 0.31},
    "dog": {"precision": 0.90, "recall": 0.23},
    "horse": {"precision": 0.78, "recall": 0.35},
    "person": {"precision": 0.68, "recall": 0.33},
    "sheep": {"precision": 0.86, "recall": 0.41},
}
"""Precision and recall of the official cues, for the classes that are not rare in those images."""


Rows = list[list[str]]


def audit_table(audit: Mapping[str, Any]) -> str:
    """Return what ``summarize`` returns as text: the figures of the whole file, then by class, shares in percent.

    Cues of VOC's classes have the official file's figures next to theirs.
    """
    whole, classes = audit_rows(audit)
    lines = [table(whole), "", table(classes, rule=-2 if audit["masks"] else None)]
    return "\n".join([*lines, *(["", *sources(audit)] if is_voc(audit) else [])])


def audit_rows(audit: Mapping[str, Any]) -> tuple[Rows, Rows]:
    """Return the cells of ``audit_table``: of the whole file, and by class, each with a row of titles first."""
    with_official = is_voc(audit)
    columns = {"cues": _whole(audit), **({"official": _whole(OFFICIAL)} if with_official else {})}
    keys = dict.fromkeys(key for column in columns.values() for key in column)
    whole = [["", *columns], *([key, *(column.get(key, "0") for column in columns.values())] for key in keys)]
    return whole, _class_rows(audit, with_official)


def sources(audit: Mapping[str, Any]) -> list[str]:
    """Return where the official figures come from; nothing without them."""
    if not is_voc(audit):
        return []
    return [f"official: {SOURCE}", *([f"official, by class: {QUALITY_SOURCE}"] if audit["masks"] else [])]


def explanation(audit: Mapping[str, Any]) -> str:
    """Return what the figures by class mean, and how many masks they rest on."""
    coverage = "Coverage is the share of the grid cells with a cue of the class, in the images that have such cues."
    if not audit["masks"]:
        return f"{coverage} No image has a mask, so nothing is known of cues that lie next to their class."
    masks = part_of(audit["masks"]["images"], audit["images"], "image", "has", "have")
    return (
        f"{coverage} {masks} a mask. In these images, precision is the share of the cue cells of a class that lie on "
        "the class in the mask, and recall is the share of the cells of the class in the mask that have a cue of it."
    )


def comparison_table(figures: Mapping[str, Any]) -> str:
    """Return what ``compare_cues`` returns as text: where ``cues`` and ``against`` agree, then both by class, shares in
    percent."""
    images, sides = figures["images"], {"cues": figures["first"], "against": figures["second"]}
    whole = [
        ["images in both", str(images["shared"])],
        ["images only in cues", str(images["only_first"])],
        ["images only in against", str(images["only_second"])],
        ["images with equal maps", str(figures["identical"])],
        ["images whose labels differ", str(len(figures["labels_differ"]))],
        ["same class where both have a cue, %", percent(figures["agreement"])],
        ["grid cells whose value differs, %", percent(figures["difference"])],
        ["mean overlap of the classes' cues, %", percent(figures["overlap"])],
    ]
    for part in ("background", "foreground"):
        for title, side in sides.items():
            whole.append([f"mean coverage, {part}, %, {title}", percent(side["coverage"][part])])
    shown = ("precision", "recall") if figures["first"]["masks"] else ()
    rows = [["class", "overlap", *(title for _ in shown for title in sides)]]
    for name, values in figures["classes"].items():
        cells = [percent(side["classes"][name][key]) for key in shown for side in sides.values()]
        rows.append([name, percent(values["overlap"]), *cells])
    if shown:
        rows.insert(0, ["", "", *(cell for key in shown for cell in (key, ""))])
        means = [percent(side["masks"][key]) for key in shown for side in sides.values()]
        rows.append(["mean of the scored", "", *means])
    return "\n".join([table(whole), "", table(rows)])


def is_voc(audit: Mapping[str, Any]) -> bool:
    """Return whether the audited cues are of VOC's classes, so that the official figures can be compared."""
    return tuple(audit["classes"]) == VOC_CLASSES


def _whole(audit: Mapping[str, Any]) -> dict[str, str]:
    cells, labels = audit["background_locations"], audit["labels"]
    shown = {
        "images": audit["images"],
        "grid": " x ".join(map(str, audit["grid"])),
        **({} if audit["overlaps"] is None else {"grid cells with cues of two classes": audit["overlaps"]}),
        "images without a background cue": audit["images_without"]["background"],
        "images without a foreground cue": audit["images_without"]["foreground"],
        "labelled classes": labels["total"],
        "labelled classes without a cue": labels["without_cue"],
        "background cells per image, most": cells["most"],
        "background cells per image, median": f"{cells['median']:g}",
        "background cells per image, least": cells["least"],
        **{f"mean coverage, {part}, %": percent(share) for part, share in audit["coverage"].items()},
    }
    for number, images in audit["images_by_classes"].items():
        shown[f"images with {number} class{'' if number == '1' else 'es'}"] = images
    return {key: str(value) for key, value in shown.items()}


def _class_rows(audit: Mapping[str, Any], with_official: bool) -> Rows:
    """One row per class: precision and recall, each with the official figure to its right; and their means."""
    means = audit["masks"]
    shown = ("precision", "recall") if means else ()
    official = ["official"] if with_official else []
    rows = [["class", "labelled", "with cues", "coverage", *(c for key in shown for c in (key, *official))]]
    for name, values in audit["classes"].items():
        labelled = "-" if values["labelled"] is None else str(values["labelled"])
        row = [name, labelled, str(values["with_cues"]), percent(values["coverage"])]
        for key in shown:
            known = OFFICIAL_QUALITY.get(name, {}).get(key)
            row += [percent(values[key]), *("" if known is None else percent(known, 0) for _ in official)]
        rows.append(row)
    if not means:
        return rows
    scored = len(means["scored"])
    mean = "mean" if scored == len(audit["classes"]) else f"mean of {scored}"
    for title, prefix in ((mean, ""), ("foreground", "foreground_")):
        cells = [cell for key in shown for cell in (percent(means[prefix + key]), *("" for _ in official))]
        rows.append([title, "", "", "", *cells])
    return rows
