"""Warnings about predicted masks: classes that are never predicted or too large, and a CRF that removes classes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from secseg.utils.console import percent
from secseg.utils.errors import some
from secseg.utils.text import count, part_of

KEPT = 0.5
"""Smallest share of a class's area that the CRF keeps without a warning."""
LEAST_AREA = 0.001
"""Smallest area of a class, as a share of all pixels, that the share is computed of."""
NARROWER = (
    "Try a half or a quarter of crf.test.bilateral_xy, or no CRF at test time (crf=train_only). evaluate.py and "
    "predict.py take these settings without a new training."
)
"""Measured on 40 images of steel with thin inclusions, of which the CRF kept 7 %: a half of bilateral_xy kept 50 %, a
quarter 77 %, bilateral_weight=3 55 % at a lower mean IoU, and bilateral_rgb=6 16 %."""
LARGER = 3
"""Largest predicted area of a class, as a multiple of its true area, without a warning."""
COMPARE = "Without masks, this may be right or wrong: compare the scores with and without it (evaluate.py)."
LONGER = "Train for more steps (trainer.max_steps), or use loss=seed_constrain, which learns faster."


def count_pixels(masks: Mapping[str, np.ndarray | None], classes: int) -> np.ndarray:
    """Return the pixels of each class in the masks of one image, (H, W) class numbers, by variant.

    Returns:
        (2, ``classes``) int64, without and with the CRF; 0 for a mask that is missing.
    """
    counts = np.zeros((2, classes), dtype=np.int64)
    for row, variant in enumerate(("without_crf", "with_crf")):
        if (mask := masks.get(variant)) is not None:
            counts[row] = np.bincount(mask.reshape(-1), minlength=classes)
    return counts


def unpredicted(pixels: np.ndarray, class_names: Sequence[str], expected: Collection[int], images: int) -> list[str]:
    """Return a warning if classes are never predicted, or all masks are background alone.

    Args:
        pixels: (C,) predicted pixels of each class, before the CRF.
        class_names: C names, background first.
        expected: numbers of the foreground classes that the images show.
        images: number of the images.
    """
    missing = [class_names[number] for number in sorted(expected) if not pixels[number]]
    if not missing:
        return []
    if not pixels[1:].any():
        return [
            f"{'The mask shows' if images == 1 else f'All {images} masks show'} background alone, without a pixel of "
            f"{count(len(missing), 'class')}: {some(missing)}. {LONGER}"
        ]
    return [
        f"{part_of(len(missing), len(expected), 'class', 'is', 'are')} in none of {count(images, 'mask')}: "
        f"{some(missing)}. {LONGER}"
    ]


def removed_by_crf(
    pixels: np.ndarray, class_names: Sequence[str], classes: Collection[int], true: np.ndarray | None = None
) -> Iterator[str]:
    """Yield a warning for each class of which the CRF removes more than half.

    Args:
        pixels: (2, C) predicted pixels of each class, without and with the CRF.
        class_names: C names, background first.
        classes: numbers of the foreground classes that are reported.
        true: (C,) pixels of each class in the truth. A CRF that only removes pixels in excess of them is no problem.
    """
    total = int(pixels[0].sum())
    for number in sorted(classes) if pixels[1].any() else ():
        before, after = pixels[:, number].tolist()
        enough = true is not None and after >= true[number]
        if before >= LEAST_AREA * total and after < KEPT * before and not enough:
            truth = "" if true is None else f", {percent(true[number] / total)} % in the truth"
            advice = COMPARE if true is None else NARROWER
            yield (
                f"{class_names[number]}: the CRF removes {percent(1 - after / before, 0)} % of its area "
                f"({percent(before / total)} % of all pixels without it, {percent(after / total)} % with it{truth}). "
                f"{advice}"
            )


def too_large(
    predicted: np.ndarray, true: np.ndarray, class_names: Sequence[str], classes: Collection[int]
) -> Iterator[str]:
    """Yield a warning for each class whose predicted area is more than three times its true area.

    Args:
        predicted, true: (C,) pixels of each class in the masks and in the truth of the same images.
        class_names: C names, background first.
        classes: numbers of the foreground classes that are reported.
    """
    total = int(true.sum())
    for number in sorted(classes):
        if predicted[number] >= max(LEAST_AREA * total, 1) and predicted[number] > LARGER * true[number]:
            yield (
                f"{class_names[number]}: {percent(predicted[number] / total)} % of the pixels are predicted, "
                f"{percent(true[number] / total)} % in the truth. Train with a lower decay.pos (decay=small_objects), "
                "or with cues that lie within the objects."
            )
