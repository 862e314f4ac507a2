"""Scores of predicted masks that lie in a folder: anyone's, no checkpoint needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from secseg.data.classes import VOID
from secseg.data.images import read_mask
from secseg.data.splits import ImageSet
from secseg.evaluation.metrics import WIDTHS
from secseg.evaluation.scores import Evaluation, ImageFiles, Masks, score_images
from secseg.utils.errors import UserError, listing
from secseg.utils.progress import ImageMeter, Stopwatch

CONVERT = "(rgb[..., None, :] == voc_palette()).all(-1).argmax(-1).astype('uint8')"
"""Class numbers (H, W) of an array ``rgb`` (H, W, 3) in VOC's colours."""


def score_folder(
    folder: str | Path,
    image_set: ImageSet,
    scored: Sequence[str] | None = None,
    widths: Sequence[float] = WIDTHS,
    workers: int | None = None,
    meter: ImageMeter | None = None,
) -> Evaluation:
    """Score ``<id>.png`` in a folder, for each image of a split, against its mask; other files are not looked at.

    Args:
        folder: of palette or grey PNGs, whose values are class numbers, each of its mask's size.
        image_set: the split, with masks.
        scored: names of the classes that the means run over; all by default.
        widths: widths of the bands around boundaries, in pixels.
        workers: images at once; None for one a core.
        meter: counts the images.

    Raises:
        UserError: if the split has no masks, or there is no such folder; with all predictions that are missing, of
            another size than their mask, hold void, or are no class numbers, before anything is scored.
    """
    folder = Path(folder).expanduser()
    evaluation = Evaluation(image_set.class_names, scored, widths)
    if image_set.masks is None:
        raise UserError(f"{image_set.title} has no masks to score against. Choose a split that has.")
    if not folder.is_dir():
        raise UserError(f"There is no folder of predicted masks at {folder}.")
    classes = len(image_set.class_names)
    images = image_set.triples()
    _check(folder, images, classes)

    def read(image: ImageFiles) -> Masks:
        name, _, mask = image
        watch = Stopwatch()
        with watch("reading"):
            return {"without_crf": read_mask(folder / f"{name}.png", classes)}, read_mask(mask, classes), watch.seconds

    score_images(read, images, {"without_crf": evaluation}, meter or ImageMeter("score", len(images)), workers)
    return evaluation


def _check(folder: Path, images: Sequence[ImageFiles], classes: int) -> None:
    """Read each prediction once and tell all that is wrong with them, by kind."""
    missing, sizes, void, unreadable = [], [], [], []
    for name, _, mask_path in images:
        path, mask = folder / f"{name}.png", read_mask(mask_path, classes)
        if not path.is_file():
            missing.append(path.name)
            continue
        try:
            prediction = read_mask(path, classes)
        except UserError as error:
            unreadable.append(str(error))
            continue
        if prediction.shape != mask.shape:
            (height, width), (rows, columns) = prediction.shape, mask.shape
            sizes.append(f"{path.name}: {width} x {height} pixels, its mask {columns} x {rows}")
        if (prediction == VOID).any():
            void.append(path.name)
    kinds = (
        (missing, "missing: each image of the split needs <id>.png"),
        (sizes, "not of their mask's size: predict at full size, or resize with nearest neighbour"),
        (
            void,
            f"with pixels of value {VOID}: void is for the truth alone; put the likeliest class (0: background) there",
        ),
        (unreadable, f"not readable as class numbers (what is said of {VOID} is for masks, not for predictions)"),
    )
    wrong = [f"{len(lines)} {what}:\n{listing(lines)}" for lines, what in kinds if lines]
    if any("holds colours" in line for line in unreadable):
        wrong.append(
            "Colours of VOC's palette become class numbers with NumPy and `from secseg.data.classes import "
            f"voc_palette`: `{CONVERT}` for an array rgb of shape (H, W, 3)."
        )
    if wrong:
        raise UserError(f"Predictions in {folder} cannot be scored, {len(images)} are needed:\n" + "\n".join(wrong))
