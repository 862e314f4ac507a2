"""Read and write masks. A mask in a file holds class numbers, colours of the classes, or only black and white."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from secseg.data.classes import VOID, voc_palette
from secseg.data.decoding import open_image, raw_mode, upright
from secseg.data.mask_values import MaskValues, class_of_values, is_colour_table, is_value_table
from secseg.utils.errors import UserError
from secseg.utils.files import atomic_write

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
MOST_COLOURS = 5
MOST_FOUND = 256
"""Most values of a mask that an error keeps. Class numbers are bytes."""
BINARY = "If white is the class, set data.mask_values=binary."
Value = int | tuple[int, int, int]
"""What stands for a class in a mask: a number, or an RGB colour."""
_PALETTE = voc_palette().tolist()


class Mask(NamedTuple):
    """A mask (H, W) uint8 of class numbers, 255 = void, and whether its numbers were found by colour although its
    palette has other numbers."""

    numbers: np.ndarray
    renumbered: bool


def read_mask(
    path: str | Path,
    num_classes: int,
    size: tuple[int, int] | None = None,
    values: MaskValues = "auto",
    palette: np.ndarray | None = None,
) -> np.ndarray:
    """Read a mask: (H, W) uint8, class numbers and 255 = void, rotated as its orientation tag says.

    Args:
        path: the file.
        num_classes: legal class numbers are 0..``num_classes`` - 1.
        size: (H, W) of the image; None for any size.
        values: how pixels become class numbers.
        palette: (256, 3) uint8, RGB colour of each class number; None for VOC's.

    Raises:
        UserError: as ``open_image``; if the pixels of the file are no classes or ambiguous, or the size differs.
    """
    return decode_mask(path, num_classes, size, values, palette).numbers


def decode_mask(
    path: str | Path,
    num_classes: int,
    size: tuple[int, int] | None = None,
    values: MaskValues = "auto",
    palette: np.ndarray | None = None,
) -> Mask:
    """Read a mask, and return how it was read, too. Arguments and errors as for ``read_mask``."""
    with open_image(path, pixels=False) as image:
        raw = raw_mode(image)
        image.load()
        mask = _MaskFile(path, num_classes, values, palette).decode(image, raw)
        numbers = upright(mask.numbers, image)
    if is_value_table(values):
        numbers = _by_table(path, numbers, class_of_values(values))
    _refuse_other_values(path, numbers, num_classes)
    if size is not None and numbers.shape != tuple(size):
        swapped = numbers.shape == (size[1], size[0])
        turned = " Rotate the mask as the orientation tag of the image says." if swapped else ""
        raise UserError(
            f"The mask {path} is {numbers.shape[1]} x {numbers.shape[0]} pixels, its image {size[1]} x {size[0]}.",
            f"They must have the same size: make the mask again from its image.{turned}",
        )
    return Mask(numbers.astype(np.uint8, copy=False), mask.renumbered)


def save_mask(mask: np.ndarray, path: str | Path, palette: np.ndarray) -> None:
    """Write a mask (H, W) uint8 as a palette PNG; arguments as ``palette_image``, errors as ``atomic_write``."""
    image = palette_image(mask, palette)
    with atomic_write(path) as temporary:
        image.save(temporary, format="PNG")


def palette_image(mask: np.ndarray, palette: np.ndarray) -> Image.Image:
    """Return a mask (H, W) uint8 of class numbers as an image with a palette (at most 256, 3) uint8 of RGB colours."""
    image = Image.fromarray(mask)
    image.putpalette(palette.tobytes())
    return image


class MaskError(UserError):
    """A mask whose values, or colours, are not those of the classes.

    Args:
        problem, remedy: as for ``UserError``.
        found: all values or RGB colours in the mask; empty if there are many.
    """

    def __init__(self, problem: str, remedy: str, found: Sequence[Value]) -> None:
        super().__init__(problem, remedy)
        self.found = tuple(found) if len(found) <= MOST_FOUND else ()


class _MaskFile:
    """Converts the pixels of one file to numbers; arguments as for ``read_mask``."""

    def __init__(self, path: str | Path, num_classes: int, values: MaskValues, palette: np.ndarray | None) -> None:
        self.path, self.num_classes, self.table = path, num_classes, values if isinstance(values, tuple) else None
        self.values = values if isinstance(values, str) else "colours" if is_colour_table(values) else "numbers"
        if values == "binary":
            self.colours = {BLACK: 0, WHITE: 1}
        elif is_colour_table(values):
            self.colours = {tuple(_PALETTE[VOID]): VOID} | {colour: number for number, colour in enumerate(values)}
        else:
            colours = _PALETTE if palette is None else palette.tolist()
            self.colours = {tuple(colours[number]): number for number in (*range(num_classes), VOID)}

    def decode(self, image: Image.Image, raw: str) -> Mask:
        if image.format in ("JPEG", "MPO"):
            raise self._error("is a JPEG, which changes the numbers at the edges of objects", "Make it again as a PNG.")
        if image.mode in ("LA", "RGBA"):
            if np.asarray(image.getchannel("A")).min(initial=255) < 255:
                raise self._error("has transparent pixels", f"Save it without transparency; void is {VOID}.")
            image = image.convert(image.mode[:-1])
        if self.table is not None and self.values == "colours" and image.mode in ("1", "L", "P"):
            image = image.convert("RGB")
        if image.mode == "P":
            return self._from_palette(image)
        if image.mode == "RGB":
            return Mask(self._from_rgb(np.asarray(image)), False)
        if image.mode not in ("L", "1") and not image.mode.startswith("I"):
            raise self._error(f"holds {image.mode} pixels, not class numbers", self._remedy())
        numbers = np.array(image, dtype=np.uint8 if image.mode in ("L", "1") else np.int64)
        return Mask(self._from_grey(numbers, image.mode, raw), False)

    def _from_grey(self, numbers: np.ndarray, mode: str, raw: str) -> np.ndarray:
        if raw in ("L;2", "L;4") and numbers.any():
            raise self._error(f"has {raw[-1]} bits per pixel, which programs read as different numbers", self._remedy())
        if mode == "1" and self.values == "auto" and self.num_classes > 2 and numbers.any():
            raise self._error(
                f"has 1 bit per pixel, so white can mean class 1 or void, and there are {self.num_classes} classes",
                f"{self._remedy()} data.mask_values=numbers reads white as class 1.",
            )
        if self.values == "binary":
            if (numbers == 1).any() and (numbers == VOID).any():
                raise self._error("holds both 1 and 255, and data.mask_values=binary", "Use 0 and 255 alone.")
            numbers[numbers == VOID] = 1
        return numbers

    def _from_palette(self, image: Image.Image) -> Mask:
        numbers = np.array(image)
        palette = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3).tolist()
        used = np.flatnonzero(np.bincount(numbers.reshape(-1), minlength=256)).tolist()
        shown = {number: tuple(palette[number]) for number in used if number < len(palette)}
        meant = {number: self.colours[colour] for number, colour in shown.items() if colour in self.colours}
        foreign = [shown.get(number, "none") for number in used if number not in meant]
        moved = {number: meant[number] for number in meant if number != meant[number]}
        if self.values == "numbers" or (not moved and self.values == "auto"):
            return Mask(numbers, False)
        if self.values == "binary" and foreign:
            return Mask(self._from_grey(numbers, "L", "L"), False)
        if foreign:
            old, new = next(iter(moved.items()), (None, None))
            reason = f"has a palette with the colour of class {new} at number {old}, and " if moved else "has "
            raise MaskError(
                f"The mask {self.path} {reason}colours that belong to no class: {_some(foreign)}.",
                "data.mask_values=numbers ignores the palette. Else save the mask with the palette of the classes.",
                [(red, green, blue) for red, green, blue in shown.values()],
            )
        table = np.arange(256, dtype=np.uint8)
        table[list(meant)] = list(meant.values())
        return Mask(table[numbers], bool(moved) and self.values == "auto")

    def _from_rgb(self, pixels: np.ndarray) -> np.ndarray:
        if self.values == "numbers":
            raise self._error("holds colours (RGB pixels), and data.mask_values takes numbers", self._remedy())
        packed = pixels.astype(np.int64) @ (1 << 16, 1 << 8, 1)
        found, places = np.unique(packed, return_inverse=True)
        colours = [(int(value) >> 16, int(value) >> 8 & 255, int(value) & 255) for value in found]
        foreign = [colour for colour in colours if colour not in self.colours]
        if foreign:
            raise MaskError(
                f"The mask {self.path} holds colours (RGB pixels) that belong to no class: {_some(foreign)}.",
                BINARY if self.num_classes == 2 and {BLACK, WHITE}.issuperset(colours) else self._remedy(),
                colours,
            )
        return np.array([self.colours[colour] for colour in colours])[places].reshape(packed.shape)

    def _remedy(self) -> str:
        if self.values == "binary":
            return "Save it as a grey PNG (8 bits) of 0 and 255."
        if self.table is not None:
            return "data.mask_values lists the value, or the RGB colour, of each class, as the masks have them."
        return (
            f"Save it as a palette or grey PNG (8 bits) whose values are the class numbers 0..{self.num_classes - 1} "
            f"and {VOID} for void, or give the RGB colour of each class with data.mask_values=[[0,0,0],...]."
        )

    def _error(self, what: str, remedy: str) -> UserError:
        return UserError(f"The mask {self.path} {what}.", remedy)


def _refuse_other_values(path: str | Path, numbers: np.ndarray, num_classes: int) -> None:
    if numbers.dtype == np.uint8:
        found = np.flatnonzero(np.bincount(numbers.reshape(-1), minlength=256))
    else:
        found = np.unique(numbers)
    illegal = found[((found < 0) | (found >= num_classes)) & (found != VOID)]
    if len(illegal):
        values = ", ".join(map(str, illegal[:10])) + (" ..." if len(illegal) > 10 else "")
        raise MaskError(
            f"The mask {path} holds the values {values}.",
            f"A mask of {num_classes} classes holds 0..{num_classes - 1} and {VOID} for void. If these values stand "
            "for classes, list them with data.mask_values=[0,...]. Else it may be a mask of another data set.",
            found.tolist(),
        )


def _by_table(path: str | Path, numbers: np.ndarray, classes: dict[int, int]) -> np.ndarray:
    """Return the class number of each pixel; other values than those of ``classes`` are a UserError."""
    found, places = np.unique(numbers, return_inverse=True)
    other = [value for value in found.tolist() if value not in classes]
    if other:
        raise MaskError(
            f"The mask {path} holds the values {_some(other)}.",
            f"data.mask_values lists {', '.join(str(value) for value, number in classes.items() if number != VOID)}. "
            f"Give the value of each class, as the masks have them; {VOID} is void if it is no class.",
            found.tolist(),
        )
    return np.array([classes[value] for value in found.tolist()], dtype=np.uint8)[places].reshape(numbers.shape)


def _some(colours: Sequence[object]) -> str:
    return ", ".join(map(str, colours[:MOST_COLOURS])) + (" ..." if len(colours) > MOST_COLOURS else "")
