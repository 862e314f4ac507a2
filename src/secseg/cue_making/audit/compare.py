"""Two cue files compared with each other, image by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from secseg.cue_making.audit.measure import CueCounts, count_cues, ratio, summarize
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
        overlaps: the overlaps that each file states (see ``summarize``).
        only: ids that only the first and only the second has.
        both: (N,) int64, cells where both have a cue.
        same: (N,) int64, those of them with the same class.
        different: (N,) int64, cells whose value differs; no cue is a value, too.
        shared: (C,) int64, cells by class where both have its cue.
    """

    names: tuple[str, ...]
    first: CueCounts
    second: CueCounts
    overlaps: tuple[int | None, int | None]
    only: tuple[tuple[str, ...], tuple[str, ...]]
    both: np.ndarray
    same: np.ndarray
    different: np.ndarray
    shared: np.ndarray

    @property
    def difference(self) -> np.ndarray:
        """(N,) share of the cells whose value differs."""
        return self.different / self.first.cells

    @property
    def labels_differ(self) -> np.ndarray:
        """(N,) bool: whether the labels differ."""
        return (self.first.labelled != self.second.labelled).any(axis=1)

    @property
    def order(self) -> list[int]:
        """Rows of the images, the most different first."""
        return np.argsort(-self.different, kind="stable").tolist()


def match(
    first: CueStore,
    second: CueStore,
    names: Sequence[str] | None,
    class_names: Sequence[str],
    masks: Mapping[str, Path] | None = None,
) -> Comparison:
    """Count where two cue files agree, over the images that both have.

    Args:
        first, second: the cue files; the maps of the second are brought to the first's grid by ``resample``.
        names: image ids; None for all of both files.
        class_names: names of the classes, background first.
        masks: as for ``count_cues``.

    Raises:
        UserError: if no image has cues in both files; as ``count_cues``.
    """
    wanted = tuple(dict.fromkeys([*first.names, *second.names])) if names is None else tuple(names)
    common = tuple(name for name in wanted if name in first and name in second)
    if not common:
        raise UserError(
            f"The two cue files have none of the {len(wanted)} images in common: the first has {len(first)}, like "
            f"{first.names[0]}, the second {len(second)}, like {second.names[0]}. Are they of the same data?"
        )
    rows = second.rows(common)
    ours = np.stack([first.maps[row] for row in first.rows(common)])
    theirs = np.stack([resample(second.maps[row], first.grid) for row in rows])
    equal = ours == theirs
    return Comparison(
        names=common,
        first=count_cues(first, class_names, masks, common),
        second=count_cues(CueStore(common, theirs, second.labels[rows], {}), class_names, masks, common),
        overlaps=(first.provenance.get("overlaps"), second.provenance.get("overlaps")),
        only=(
            tuple(name for name in wanted if name in first and name not in second),
            tuple(name for name in wanted if name in second and name not in first),
        ),
        both=((ours != VOID) & (theirs != VOID)).sum((1, 2)),
        same=(equal & (ours != VOID)).sum((1, 2)),
        different=(~equal).sum((1, 2)),
        shared=np.bincount(ours[equal], minlength=256)[: len(class_names)],
    )


def summarize_comparison(comparison: Comparison, scored: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the figures of a comparison as plain values. Shares are in [0, 1]; None stands for no value.

    Args:
        comparison: of two cue files.
        scored: names of the classes that the means of precision and recall run over; all by default.

    - ``images``: that both have (``shared``), that ``only_first`` and ``only_second`` has;
    - ``agreement``: of the cells where both have a cue, the share with the same class; ``both``: their share of all
      cells, of the first's cues and of the second's (``of_all``, ``of_first``, ``of_second``);
    - ``identical``: images whose maps are equal; ``difference``: mean share of the cells whose value differs;
    - ``most_different``: ten images with theirs; ``labels_differ``: the images whose labels differ, with both;
    - ``classes``: by name ``overlap`` of the two cue regions (cells that both give the class over cells that either
      does, pooled over images); ``overlap``: its mean over the classes that have one;
    - ``first``, ``second``: each as ``summarize``, over the shared images.

    Compare precision together with recall: a file with fewer cues is easily more precise.
    """
    first, second = comparison.first, comparison.second
    union = first.cued.sum(axis=0) + second.cued.sum(axis=0) - comparison.shared
    overlaps = {name: ratio(comparison.shared[number], union[number]) for number, name in enumerate(first.class_names)}
    known = [overlap for overlap in overlaps.values() if overlap is not None]
    both = comparison.both.sum()
    return {
        "images": {
            "shared": len(comparison.names),
            "only_first": len(comparison.only[0]),
            "only_second": len(comparison.only[1]),
        },
        "agreement": ratio(comparison.same.sum(), both),
        "both": {
            "of_all": ratio(both, len(comparison.names) * first.cells),
            "of_first": ratio(both, first.cued.sum()),
            "of_second": ratio(both, second.cued.sum()),
        },
        "identical": int((comparison.different == 0).sum()),
        "difference": float(comparison.difference.mean()),
        "most_different": [
            [comparison.names[row], float(comparison.difference[row])] for row in comparison.order[:MOST_DIFFERENT]
        ],
        "labels_differ": [
            {"image": comparison.names[row], "first": _label_names(first, row), "second": _label_names(second, row)}
            for row in np.flatnonzero(comparison.labels_differ).tolist()
        ],
        "overlap": ratio(sum(known), len(known)),
        "classes": {name: {"overlap": overlap} for name, overlap in overlaps.items()},
        "first": summarize(first, comparison.overlaps[0], scored),
        "second": summarize(second, comparison.overlaps[1], scored),
    }


def compare_cues(
    first: CueStore,
    second: CueStore,
    names: Sequence[str] | None,
    class_names: Sequence[str],
    masks: Mapping[str, Path] | None = None,
    scored: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Compare two cue files: arguments and errors as ``match``, figures as ``summarize_comparison``."""
    return summarize_comparison(match(first, second, names, class_names, masks), scored)


def _label_names(counts: CueCounts, row: int) -> list[str]:
    return [name for name, present in zip(counts.class_names, counts.labelled[row], strict=True) if present]
