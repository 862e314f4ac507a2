"""Warnings about cues: too large, too small, missing, wrong, or where the image does not matter."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from secseg.cue_making.audit.measure import CueCounts
from secseg.utils.console import percent
from secseg.utils.text import count, part_of

LARGEST, SMALLEST = 0.5, 0.01
"""Largest and smallest mean share of an image that a class's cues cover without a warning. Of the official file, 0.06
to 0.17 by class."""
MISSING = 0.5
"""Largest share of a class's images without a cue of it, without a warning."""
NO_BACKGROUND = 0.1
"""Largest share of images without a background cue, without a warning."""
SAME_PLACES = 0.5
"""Largest value of ``sameness`` without a warning. Of the official file 0.20, of the built-in data 0.17, of maps with a
border artefact 0.72."""
FRAME_BACKGROUND, FRAME_CLASS = 5.0, 2.0
"""Largest ratio of densities near the frame and inside, without a warning. Of the background in the official file 2.0,
in the built-in data 2.9, in maps with a border artefact 9.5; of classes at most 0.4."""
PRECISE, FEWEST_CELLS = 0.5, 10
"""Smallest share of a class's cue cells that lie on it in the masks, without a warning; and the fewest cue cells
of which the share is computed."""
FEWEST_IMAGES = 10
"""Fewest images whose places are compared."""


def cue_warnings(counts: CueCounts, provenance: Mapping[str, Any], scored: Collection[str] | None = None) -> list[str]:
    """Return a line for each thing that is unusual about cues.

    Args:
        counts: the counted cues.
        provenance: what the file states of how it was made. The lines name those settings of its recipe that help.
        scored: names of the classes that are reported; None for all.
    """
    keys = settings if isinstance(settings := provenance.get("cues"), dict) else {}
    classes = {number: name for number, name in enumerate(counts.class_names) if scored is None or name in scored}
    objects = {number: name for number, name in classes.items() if number}
    return [
        *_sizes(counts, keys, objects),
        *_imprecise(counts, keys, classes),
        *_without_background(counts, keys),
        *_places(counts, keys, objects),
    ]


def sameness(places: np.ndarray, images: int) -> tuple[float, int]:
    """Return how much of some cues lies at the same places in all images, and the number of these places.

    With m cells per image on average, the places are the m cells that have a cue most often. 0: as by chance, 1: the
    same cells in each image.

    Args:
        places: (h, w) number of images whose cell has a cue.
        images: number of images.
    """
    cells, coverage = round(places.sum() / images), places.mean() / images
    if not cells or coverage == 1:
        return 0.0, cells
    share = np.sort(places, axis=None)[-cells:].mean() / images
    return float(share - coverage) / (1 - coverage), cells


def frame_ratio(places: np.ndarray) -> float:
    """Return how much denser some cues (h, w) are near the frame of the image than inside: in [0, inf].

    Near means within a twentieth of a side, at least one cell. 1 without any cue, or without cells inside.
    """
    margins = [max(1, round(side / 20)) for side in places.shape]
    inside = places[margins[0] : -margins[0], margins[1] : -margins[1]]
    near = places.size - inside.size
    if not inside.size or not places.any():
        return 1.0
    density = (places.sum() - inside.sum()) / near
    return float(density / inside.mean()) if inside.any() else float("inf")


def _sizes(counts: CueCounts, keys: Collection[str], classes: Mapping[int, str]) -> Iterator[str]:
    labelled, with_cues = counts.labelled.sum(0), (counts.cued > 0).sum(0)
    for number, name in classes.items():
        images = int(with_cues[number])
        without, having = int(counts.without_cue[:, number].sum()), "image with this label"
        if without > MISSING * labelled[number]:
            yield (
                f"{name}: no cue in {without} of {count(int(labelled[number]), having, 'images with this label')}."
                f"{_change('Lower', ('threshold', 'background_score', 'min_score'), keys)}"
            )
        share = counts.cued[:, number].sum() / (images * counts.cells) if images else None
        if share is not None and share > LARGEST:
            yield (
                f"{name}: its cues cover {percent(share, 0)} % of its {count(images, 'image')} on average. Cues should "
                f"lie within the objects.{_change('Raise', ('threshold', 'background_score'), keys)}"
            )
        elif share is not None and share < SMALLEST:
            yield (
                f"{name}: its cues cover {percent(share)} % of its {count(images, 'image')} on average, so its objects "
                f"may be too small for cues of {counts.grid[0]} x {counts.grid[1]} "
                f"cells.{_change('Lower', ('background_score', 'threshold'), keys)} Train with decay=small_objects."
            )


def _imprecise(counts: CueCounts, keys: Collection[str], classes: Mapping[int, str]) -> Iterator[str]:
    known, right, masks = counts.known.sum(0), counts.right.sum(0), (counts.known > 0).sum(0)
    for number, name in classes.items():
        if known[number] < FEWEST_CELLS or right[number] >= PRECISE * known[number]:
            continue
        raised = _change("Raise", ("threshold", "background_score"), keys)
        narrower = " For small objects, localization.foreground.background_share=0.8 gives narrower maps."
        change = raised if number else _change("Lower", ("share",), keys)
        yield (
            f"{name}: {percent(right[number] / known[number], 0)} % of its cue cells lie on it, in "
            f"{count(int(masks[number]), 'mask')}.{change}{narrower if number else ''} More "
            "images and a larger input (localization.foreground.network.input_size) give better maps."
        )


def _without_background(counts: CueCounts, keys: Collection[str]) -> Iterator[str]:
    images, without = len(counts.names), int((counts.cued[:, 0] == 0).sum())
    if without > NO_BACKGROUND * images:
        yield (
            f"{part_of(without, images, 'image', 'has', 'have')} no background cue, so training does not see where "
            f"their background is.{_change('Raise', ('threshold', 'background_score'), keys)}"
        )


def _places(counts: CueCounts, settings: Mapping[str, Any], classes: Mapping[int, str]) -> Iterator[str]:
    images = int(counts.labelled.any(1).sum())
    if images < FEWEST_IMAGES:
        return
    same, cells = sameness(counts.places[0], images)
    ratio = frame_ratio(counts.places[0])
    found = []
    change = _change("Raise", ("share",), settings)
    if same > SAME_PLACES:
        most = np.sort(counts.places[0], axis=None)[-cells:].sum() / counts.places[0].sum()
        found.append(
            f"{percent(most, 0)} % lie at the same {cells} of {counts.cells} grid cells, whatever the {images} images "
            "show"
        )
    if ratio > FRAME_BACKGROUND:
        found.append(_frame(ratio))
        if settings.get("smooth"):  # smoothing spreads what is low along the frame
            change += _change("Lower", ("smooth",), settings)
    if found:
        yield f"Background cues: {', and '.join(found)}.{change} Images without any class show more of the background."
    for number, name in classes.items():
        if (ratio := frame_ratio(counts.places[number])) > FRAME_CLASS:
            yield f"{name}: its cues follow the frame of the image: {_frame(ratio)}. Look at them in the audit."


def _frame(ratio: float) -> str:
    return f"they are {ratio:.1f} times as dense near the frame of the image as inside (a border artefact of the maps?)"


def _change(how: str, wanted: tuple[str, ...], keys: Collection[str]) -> str:
    known = [f"cues.{key}" for key in wanted if key in keys]
    return f" {how} {' or '.join(known)} of make_cues.py." if known else ""
