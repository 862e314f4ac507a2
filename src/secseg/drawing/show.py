"""A picture of an image and its mask, to look at in a notebook or to save."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from secseg.data.classes import VOID, voc_palette
from secseg.data.images import as_pixels
from secseg.drawing.fonts import save_in_any_script
from secseg.drawing.overlays import overlay
from secseg.drawing.panels import class_patches
from secseg.utils.errors import UserError

SIDE = 4.0
"""The longer side of the image in the picture, in inches of 100 pixels."""


def show(
    image: str | Path | Image.Image | np.ndarray, mask: np.ndarray, class_names: Sequence[str] | None = None
) -> Image.Image:
    """Return a picture: an image, next to it its mask over the image, and below a legend of the classes in the mask.

    A notebook displays the picture if it is the last value of a cell. In a script, use its ``save`` or ``show``.

    Args:
        image: a path, an image of Pillow, or an array (H, W, 3) uint8, RGB.
        mask: (H, W) uint8, class numbers; 255 (void) is not drawn.
        class_names: names of the classes for the legend, background first: ``network.class_names``; None for numbers.

    Raises:
        UserError: if the image cannot be read, the mask does not have its size, or a number in it has no name.
    """
    pixels = as_pixels(image)
    if not isinstance(mask, np.ndarray) or mask.dtype != np.uint8 or mask.shape != pixels.shape[:2]:
        given = f"{mask.shape} {mask.dtype}" if isinstance(mask, np.ndarray) else f"of the type {type(mask).__name__}"
        raise UserError(f"The mask is {given}: give an array {pixels.shape[:2]} uint8, the size of the image.")
    classes = [int(number) for number in np.unique(mask) if number != VOID]
    if class_names is not None and classes and classes[-1] >= len(class_names):
        raise UserError(f"The mask holds class {classes[-1]}, and class_names has {len(class_names)} names, from 0 on.")
    names = {number: str(number) if class_names is None else class_names[number] for number in classes}
    return _draw(pixels, mask, names)


def _draw(pixels: np.ndarray, mask: np.ndarray, names: dict[int, str]) -> Image.Image:
    palette = voc_palette()
    height, width = (SIDE * side / max(pixels.shape) for side in pixels.shape[:2])
    width, legend = max(width, 1.5), 0.25 * -(-len(names) // 6) + 0.1
    figure = Figure(figsize=(2 * width + 0.1, max(height, 1) + legend), dpi=100, facecolor="white")
    grid = figure.add_gridspec(1, 2, left=0, right=1, top=1, bottom=legend / figure.get_figheight(), wspace=0.1 / width)
    for column, picture in enumerate((pixels, overlay(pixels, mask, palette))):
        axes = figure.add_subplot(grid[column])
        axes.set_axis_off()
        axes.imshow(picture)
    patches = class_patches(names, palette)
    figure.legend(handles=patches, loc="lower center", ncols=min(max(len(patches), 1), 6), fontsize=9, frameon=False)
    content = BytesIO()

    def save() -> None:
        content.seek(0)
        figure.savefig(content, format="png", bbox_inches="tight", pad_inches=0.05)  # with the whole legend

    save_in_any_script(figure, save)
    with Image.open(content, formats=["PNG"]) as drawn:
        return drawn.convert("RGB")
