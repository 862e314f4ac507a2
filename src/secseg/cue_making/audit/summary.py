"""The figures of a cue file: what is covered, what is missing, and where masks are, how much of it is right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from secseg.cue_making.audit.counts import CueCounts, count_cues
from secseg.data.cues.cue_files import CueStore
from secseg.utils.errors import UserError, nearest


def audit_cues(
    store: CueStore,
    class_names: Sequence[str],
    masks: Mapping[str, Path] | None = None,
    names: Sequence[str] | None = None,
    scored: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Measure the cues of ``names`` (all images of the store by default); arguments and errors as
    :func:`~secseg.cue_making.audit.counts.count_cues`, figures as :func:`summarize`."""
    return summarize(count_cues(store, class_names, masks, names), store.provenance.get("overlaps"), scored)


def summarize(counts: CueCounts, overlaps: int | None = None, scored: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the figures of counted cues as plain values; shares are in [0, 1], None where there is no value.

    Args:
        counts: the cues, counted.
        overlaps: locations that had two classes before each kept one, in the whole file; None where unknown.
        scored: names of the classes that the means of precision and recall run over; all by default.

    - ``images``, ``grid`` (height and width);
    - ``overlaps``;
    - ``images_without``: images without a cue of the ``background``, and of any ``foreground`` class;
    - ``labels``: labelled classes over all images (``total``), and those that have no cue in their image;
    - ``background_locations`` an image: ``most``, ``median``, ``least``;
    - ``coverage``: share of the locations with a cue of ``background``, of a ``foreground`` class, without a cue
      (``unlabelled``), a mean over images;
    - ``images_by_classes``: images by the number of their labels;
    - ``classes``: by name, ``labelled`` images (None for background), images ``with_cues``, ``coverage`` (share of the
      locations, a mean over the images with cues of the class);
    - ``masks``: None without masks, else ``images`` that have one, ``scored``, and means over the scored classes that
      have a value: ``precision`` and ``recall``, and without the background ``foreground_precision`` and
      ``foreground_recall``.

    With masks the classes have, too, ``precision``: of their cue locations, the share that lies on the class; and
    ``recall``: of their locations in the masks, the share with a cue of the class. Locations are pooled over all
    images that have a mask, whatever their labels; those that are void in the mask count in neither.

    Raises:
        UserError: for an unknown scored class.
    """
    scored = list(counts.class_names if scored is None else scored)
    for name in scored:
        if name not in counts.class_names:
            raise UserError(f"There is no class {name!r} to score.{nearest(name, counts.class_names)}")
    with_cues = counts.cued > 0
    background = counts.cued[:, 0]
    covered, foreground = background.mean() / counts.locations, counts.cued[:, 1:].sum(axis=1).mean() / counts.locations
    by_classes = Counter(counts.labelled.sum(axis=1).tolist())
    classes = {
        name: {
            "labelled": int(counts.labelled[:, number].sum()) if number else None,
            "with_cues": int(with_cues[:, number].sum()),
            "coverage": ratio(counts.cued[:, number].sum(), int(with_cues[:, number].sum()) * counts.locations),
        }
        for number, name in enumerate(counts.class_names)
    }
    return {
        "images": len(counts.names),
        "grid": list(counts.grid),
        "overlaps": overlaps,
        "images_without": {
            "background": int((~with_cues[:, 0]).sum()),
            "foreground": int((~with_cues[:, 1:].any(axis=1)).sum()),
        },
        "labels": {"total": int(counts.labelled.sum()), "without_cue": int(counts.without_cue.sum())},
        "background_locations": {
            "most": int(background.max()),
            "median": float(np.median(background)),
            "least": int(background.min()),
        },
        "coverage": {
            "background": float(covered),
            "foreground": float(foreground),
            "unlabelled": float(1 - covered - foreground),
        },
        "images_by_classes": {str(number): by_classes[number] for number in sorted(by_classes)},
        "classes": classes,
        "masks": _add_quality(classes, counts, scored) if len(counts.masked) else None,
    }


def _add_quality(classes: dict[str, dict[str, Any]], counts: CueCounts, scored: list[str]) -> dict[str, Any]:
    known, right, true = (part.sum(axis=0) for part in (counts.known, counts.right, counts.true))
    for number, values in enumerate(classes.values()):
        values["precision"] = ratio(right[number], known[number])
        values["recall"] = ratio(right[number], true[number])
    means: dict[str, Any] = {"images": len(counts.masked), "scored": scored}
    for prefix, left_out in (("", ()), ("foreground_", counts.class_names[:1])):
        for key in ("precision", "recall"):
            present = [classes[name][key] for name in scored if name not in left_out]
            present = [value for value in present if value is not None]
            means[prefix + key] = ratio(sum(present), len(present))
    return means


def ratio(part: float, whole: float) -> float | None:
    """Return ``part / whole``; None where there is no whole."""
    return float(part / whole) if whole else None
