"""Two cue files compared with each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from secseg.cue_making.audit.measure import CueCounts, count_cues, mean_of_known, ratio, summarize
from secseg.data.classes import VOID
from secseg.data.cues import CueStore
from secseg.data.cues.store import resample
from secseg.utils.errors import UserError

MOST_DIFFERENT = 10
"""How many of the most different images the figures name."""


def compare_cues(
    first: CueStore,
    second: CueStore,
    names: Sequence[str] | None,
    class_names: Sequence[str],
    masks: Mapping[str, Path] | None = None,
    scored: Sequence[str] | None = None,
    read: Callable[[Path], np.ndarray] | None = None,
) -> dict[str, Any]:
    """Return figures of where two cue files agree, as plain values. Shares are in [0, 1]; None stands for no value.

    Args:
        first, second: the cue files; the maps of the second are brought to the first's grid by ``resample``.
        names: image ids; None for all of both files.
        class_names, masks, scored, read: as for ``count_cues`` and ``summarize``.

    - ``images``: that both have (``shared``), that ``only_first`` and ``only_second`` has;
    - ``agreement``: of the cells where both have a cue, the share with the same class; ``both``: their share of all
      cells, of the first's cues and of the second's (``of_all``, ``of_first``, ``of_second``);
    - ``identical``: images whose maps are equal; ``difference``: mean share of the cells whose value differs, where no
      cue is a value, too; ``most_different``: ten images with theirs;
    - ``labels_differ``: the images whose labels differ, with both;
    - ``classes``: by name ``overlap`` of the two cue regions (cells that both give the class over cells that either
      does, pooled over images); ``overlap``: its mean over the classes that have one;
    - ``first``, ``second``: each as ``summarize``, over the shared images.

    Raises:
        UserError: if no image has cues in both files; as ``count_cues`` and ``summarize``.
    """
    wanted = tuple(dict.fromkeys([*first.names, *second.names])) if names is None else tuple(names)
    shared = tuple(name for name in wanted if name in first and name in second)
    if not shared:
        raise UserError(
            f"The two cue files have none of the {len(wanted)} images in common: the first has {len(first)}, like "
            f"{first.names[0]}, the second {len(second)}, like {second.names[0]}. Are they of the same data?"
        )
    ours = np.stack([first[name].map for name in shared])
    theirs = np.stack([resample(second[name].map, first.grid) for name in shared])
    moved = CueStore(shared, theirs, second.labels[second.rows(shared)], second.provenance)
    counts = [count_cues(store, class_names, masks, shared, read) for store in (first, moved)]
    only_first, only_second = (sum(name in store for name in wanted) - len(shared) for store in (first, second))
    return {
        "images": {"shared": len(shared), "only_first": only_first, "only_second": only_second},
        **_agreement(shared, ours, theirs),
        **_overlaps(ours[ours == theirs], counts),
        "labels_differ": _label_differences(*counts),
        "first": summarize(counts[0], scored),
        "second": summarize(counts[1], scored),
    }


def _agreement(names: Sequence[str], ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    """Return the figures that do not depend on the class, of maps (N, h, w)."""
    cued, cued_too, equal = ours != VOID, theirs != VOID, ours == theirs
    both = np.count_nonzero(cued & cued_too)
    difference = (~equal).mean((1, 2))
    order = np.argsort(-difference, kind="stable")[:MOST_DIFFERENT].tolist()
    return {
        "agreement": ratio(np.count_nonzero(equal & cued), both),
        "both": {
            "of_all": ratio(both, ours.size),
            "of_first": ratio(both, np.count_nonzero(cued)),
            "of_second": ratio(both, np.count_nonzero(cued_too)),
        },
        "identical": int(equal.all((1, 2)).sum()),
        "difference": float(difference.mean()),
        "most_different": [[names[row], float(difference[row])] for row in order],
    }


def _overlaps(equal: np.ndarray, counts: Sequence[CueCounts]) -> dict[str, Any]:
    """Return the overlap of each class and their mean; ``equal`` are the values of the cells where both are equal."""
    class_names = counts[0].class_names
    shared = np.bincount(equal, minlength=256)[: len(class_names)]
    union = sum(part.cued.sum(axis=0) for part in counts) - shared
    overlaps = {name: ratio(shared[number], union[number]) for number, name in enumerate(class_names)}
    return {
        "overlap": mean_of_known(overlaps.values()),
        "classes": {name: {"overlap": overlap} for name, overlap in overlaps.items()},
    }


def _label_differences(first: CueCounts, second: CueCounts) -> list[dict[str, Any]]:
    return [
        {
            "image": name,
            "first": list(compress(first.class_names, one)),
            "second": list(compress(first.class_names, two)),
        }
        for name, one, two in zip(first.names, first.labelled, second.labelled, strict=True)
        if (one != two).any()
    ]
