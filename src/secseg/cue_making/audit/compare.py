"""Two cue files side by side, image by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from secseg.cue_making.audit import CueCounts, count_cues, summarize
from secseg.cue_making.audit.summary import ratio
from secseg.data.classes import VOID
from secseg.data.cues.cue_files import CueStore, resample
from secseg.utils.errors import UserError

MOST_DIFFERENT = 10
"""How many of the most different images the figures name."""


@dataclass(frozen=True)
class Comparison:
    """Two cue files over the images that both have, on the grid of the first.

    Attributes:
        names: N image ids.
        first, second: the counts of each.
        provenance: what each says of where it comes from.
        only: ids that only the first and only the second has.
        both: (N,) int64, locations where both have a cue.
        same: (N,) int64, those of them with the same class.
        different: (N,) int64, locations whose value differs; no cue is a value, too.
        shared: (C,) int64, locations by class where both have its cue.
    """

    names: tuple[str, ...]
    first: CueCounts
    second: CueCounts
    provenance: tuple[dict[str, Any], dict[str, Any]]
    only: tuple[tuple[str, ...], tuple[str, ...]]
    both: np.ndarray
    same: np.ndarray
    different: np.ndarray
    shared: np.ndarray

    @property
    def difference(self) -> np.ndarray:
        """(N,) share of the locations whose value differs."""
        return self.different / self.first.locations

    @property
    def labels_differ(self) -> np.ndarray:
        """(N,) bool: whether the labels differ."""
        return (self.first.labelled != self.second.labelled).any(axis=1)


def compare_cues(
    first: CueStore,
    second: CueStore,
    names: Sequence[str] | None,
    class_names: Sequence[str],
    masks: Mapping[str, Path] | None = None,
    scored: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Compare two cue files: arguments and errors as :func:`match`, figures as :func:`summarize_comparison`."""
    return summarize_comparison(match(first, second, names, class_names, masks), scored)


def match(
    first: CueStore,
    second: CueStore,
    names: Sequence[str] | None,
    class_names: Sequence[str],
    masks: Mapping[str, Path] | None = None,
) -> Comparison:
    """Count where two cue files agree, over the images that both have.

    Args:
        first, second: the cue files; the maps of the second are brought to the first's grid
            (:func:`secseg.data.cues.cue_files.resample`).
        names: image ids; None for all of both files.
        class_names: names of the classes, background first.
        masks: as for :func:`~secseg.cue_making.audit.count_cues`.

    Raises:
        UserError: if no image has cues in both files; as :func:`~secseg.cue_making.audit.count_cues`.
    """
    wanted = tuple(dict.fromkeys([*first.names, *second.names])) if names is None else tuple(names)
    shared_names = tuple(name for name in wanted if name in first and name in second)
    only = tuple(
        tuple(name for name in wanted if name in one and name not in other)
        for one, other in ((first, second), (second, first))
    )
    if not shared_names:
        raise UserError(
            f"The two cue files have none of the {len(wanted)} images in common: the first has {len(first)}, like "
            f"{first.names[0]}, the second {len(second)}, like {second.names[0]}. Are they of the same data?"
        )
    rows = second.rows(shared_names)
    maps = np.stack([resample(second.maps[row], first.grid) for row in rows])
    moved = CueStore(shared_names, maps, second.labels[rows], second.provenance)
    both, same, different = (np.zeros(len(shared_names), dtype=np.int64) for _ in range(3))
    shared = np.zeros(256, dtype=np.int64)
    for number, row in enumerate(first.rows(shared_names)):
        one, other = first.maps[row], maps[number]
        equal = one == other
        both[number] = np.count_nonzero((one != VOID) & (other != VOID))
        same[number] = np.count_nonzero(equal & (one != VOID))
        different[number] = one.size - np.count_nonzero(equal)
        shared += np.bincount(one[equal], minlength=256)
    return Comparison(
        shared_names,
        count_cues(first, class_names, masks, shared_names),
        count_cues(moved, class_names, masks, shared_names),
        (first.provenance, second.provenance),
        (only[0], only[1]),
        both,
        same,
        different,
        shared[: len(class_names)],
    )


def summarize_comparison(comparison: Comparison, scored: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the figures of a comparison as plain values; shares are in [0, 1], None where there is no value.

    Args:
        comparison: of two cue files.
        scored: names of the classes that the means of precision and recall run over; all by default.

    - ``images``: that both have (``shared``), that ``only_first`` and ``only_second`` has;
    - ``agreement``: of the locations where both have a cue, the share with the same class; ``both``: their share of
      all locations, that of the first's cues and that of the second's (``of_first``, ``of_second``);
    - ``identical``: images whose maps are equal; ``difference``: mean share of the locations whose value differs;
    - ``most_different``: ten images with theirs, ``labels_differ``: the images whose labels differ, with both;
    - ``classes``: by name ``overlap`` of the two cue regions (locations that both give the class over locations that
      either does, pooled over images); ``overlap``: its mean over the classes that have one;
    - ``first``, ``second``: each as :func:`~secseg.cue_making.audit.summarize`, over the shared images.

    Precision and recall of hard cues go together: a file with fewer cues is more precise at no merit. Compare both.
    """
    first, second = comparison.first, comparison.second
    union = first.cued.sum(axis=0) + second.cued.sum(axis=0) - comparison.shared
    overlaps = {name: ratio(comparison.shared[number], union[number]) for number, name in enumerate(first.class_names)}
    known = [overlap for overlap in overlaps.values() if overlap is not None]
    both = comparison.both.sum()
    order = np.argsort(-comparison.different, kind="stable")[:MOST_DIFFERENT]
    return {
        "images": {
            "shared": len(comparison.names),
            "only_first": len(comparison.only[0]),
            "only_second": len(comparison.only[1]),
        },
        "agreement": ratio(comparison.same.sum(), both),
        "both": {
            "of_all": ratio(both, len(comparison.names) * first.locations),
            "of_first": ratio(both, first.cued.sum()),
            "of_second": ratio(both, second.cued.sum()),
        },
        "identical": int((comparison.different == 0).sum()),
        "difference": float(comparison.difference.mean()),
        "most_different": [[comparison.names[row], float(comparison.difference[row])] for row in order.tolist()],
        "labels_differ": [
            {"image": comparison.names[row], "first": label_names(first, row), "second": label_names(second, row)}
            for row in np.flatnonzero(comparison.labels_differ).tolist()
        ],
        "overlap": ratio(sum(known), len(known)),
        "classes": {name: {"overlap": overlap} for name, overlap in overlaps.items()},
        "first": summarize(first, comparison.provenance[0].get("overlaps"), scored),
        "second": summarize(second, comparison.provenance[1].get("overlaps"), scored),
    }


def label_names(counts: CueCounts, row: int) -> list[str]:
    """Return the names of an image's labels."""
    return [name for name, there in zip(counts.class_names, counts.labelled[row], strict=True) if there]
