"""Check masks before anything is computed: against their images, and against the image-level labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from secseg.data.classes import VOID
from secseg.data.images import image_size
from secseg.data.labels import Labels
from secseg.data.mask_comparison import Content, compare, content, void_remedy
from secseg.data.mask_hints import values_hint
from secseg.data.masks import MaskError
from secseg.data.splits import ImageSet
from secseg.utils.errors import UserError, problem_listing
from secseg.utils.parallel import results_and_problems
from secseg.utils.text import count

BY_NUMBER = "data.mask_values=numbers reads their numbers."


def check_masks(images: ImageSet, required: bool = True, advice: str = "", labels: Labels | None = None) -> list[str]:
    """Read the masks of a split, and compare them with the labels.

    Args:
        images: the split, with masks.
        required: whether an image without a mask is an error.
        advice: follows the message about masks that cannot be used.
        labels: classes of each image, which the masks show; None if they are unknown.

    Returns:
        A warning for each thing that the user may not have intended.

    Raises:
        UserError: with all masks that do not fit or, if required, are missing; as ``compare``.
    """

    def check(image: tuple[str, Path, Path]) -> tuple[Content, bool]:
        mask = images.decode_mask(image[2], image_size(image[1]))
        return content(mask.numbers), mask.renumbered

    chosen = [one for one in images.triples() if required or one[2].is_file()]
    found, wrong = results_and_problems(check, chosen)
    if wrong:
        failed = [image[0] for image, result in zip(chosen, found, strict=True) if result is None]
        values = {name: error.found for name, error in zip(failed, wrong, strict=True) if isinstance(error, MaskError)}
        hint = values_hint(values, labels or {}, images.class_names)
        raise UserError(
            f"{count(len(wrong), 'mask')} of {images.title} cannot be used{advice}:\n{problem_listing(wrong)}"
            + (f"\n{hint}" if hint else "")
        )
    read = {image[0]: result for image, result in zip(chosen, found, strict=True) if result is not None}
    by_colour = [path for (_, _, path), result in zip(chosen, found, strict=True) if result and result[1]]
    shown = {name: one for name, (one, _) in read.items()}
    return [
        *renumbered_warning(by_colour),
        *_no_background(images.title, list(shown.values())),
        *([] if labels is None else compare(images, shown, labels)),
    ]


def check_shown_classes(images: ImageSet) -> list[str]:
    """Check that a mask of a split shows a class. The first that does ends the search.

    Returns:
        A warning if that mask was read by colour, or if all masks show background alone.

    Raises:
        UserError: if a mask cannot be read; if no mask shows a class, and some have the value 255.
    """
    seen, with_void = 0, 0
    for path in images.masks or ():
        if path.is_file():
            mask = images.decode_mask(path)
            if ((mask.numbers > 0) & (mask.numbers != VOID)).any():
                return renumbered_warning([path] if mask.renumbered else [])
            seen, with_void = seen + 1, with_void + bool((mask.numbers == VOID).any())
    if with_void:
        raise UserError(
            f"No mask of {images.title} shows a class: {count(seen, 'mask was', 'masks were')} read, and {with_void} "
            f"of them hold {VOID}. {void_remedy(images.class_names)}"
        )
    read = count(seen, f"mask of {images.title} shows", f"masks of {images.title} show")
    alone = f"{read} background alone: scores say nothing about classes."
    return [alone] if seen else []


def renumbered_warning(paths: Sequence[Path]) -> list[str]:
    """Return a warning for masks that were read by colour, because their palette has other numbers; none without."""
    if not paths:
        return []
    return [
        f"{count(len(paths), 'mask')}, such as {paths[0]}, with the colours of the classes at other numbers of the "
        f"palette {'is' if len(paths) == 1 else 'are'} read by colour. {BY_NUMBER}"
    ]


def _no_background(title: str, shown: Sequence[Content]) -> Iterator[str]:
    """Yield a warning if void may stand for the background, because no mask shows the background."""
    void = sum(VOID in one.pixels for one in shown)
    if void and not any(0 in one.pixels for one in shown):
        yield (
            f"No mask of {title} shows the background (0), and {void} of {len(shown)} hold {VOID}. {VOID} is void: "
            "such pixels are not scored, and the scores miss what is predicted there. If these pixels are background, "
            "save them as 0."
        )
