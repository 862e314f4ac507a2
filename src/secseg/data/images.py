"""Read images, and find the images in a folder. What cannot be read is reported by name."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image

from secseg.data.decoding import (
    has_frames,
    is_complete,
    is_transparent,
    is_wide,
    open_image,
    raw_mode,
    to_rgb,
    upright,
    upright_size,
)
from secseg.data.walk import SUFFIXES, files_below, is_image_file, is_other_image
from secseg.utils.errors import UserError, listing
from secseg.utils.text import count, nfc

KINDS = ", ".join(SUFFIXES)
HALF = re.compile("[\ud800-\udfff]")
"""Python's form of a byte of a file name that is not UTF-8."""

REMARKS = {
    "dark": (
        *("image of more than 8 bits uses", "images of more than 8 bits use"),
        "less than a quarter of the range of the type, such as {example}: dark images. If the values have fewer bits, "
        "scale the images to 8 bits.",
    ),
    "transparent": (
        *("image has", "images have"),
        "transparent pixels, such as {example}. Transparency is ignored: the colours that the file holds in these "
        "pixels are used, often black or white. For another background, draw the images on it and save them without "
        "transparency.",
    ),
    "frames": (
        *("file holds", "files hold"),
        "several pages or frames, such as {example}. Only the first is read. To use the others, save them as images of "
        "their own.",
    ),
}
"""For one image, for several, and for both: what the user may not have intended in images that can be read."""


def read_image(path: str | Path) -> np.ndarray:
    """Read an image of any colour mode as (H, W, 3) uint8 RGB, rotated as its orientation tag says.

    Raises:
        UserError: as ``open_image``; if the range of the pixels is not the range of their type.
    """
    with open_image(path, pixels=False) as image:
        return _rgb(image, path)


def as_pixels(image: str | Path | Image.Image | np.ndarray) -> np.ndarray:
    """Return an image as ``read_image`` does: (H, W, 3) uint8 RGB.

    Args:
        image: a path; an image of Pillow, of any colour mode, which is rotated as its orientation tag says; or an array
            (H, W, 3) uint8, RGB, which is returned as it is.

    Raises:
        UserError: as ``read_image``; for an array of another shape or type, or something else.
    """
    if isinstance(image, str | Path):
        return read_image(image)
    if isinstance(image, Image.Image):
        return _rgb(image, getattr(image, "filename", "") or "given (an image of Pillow)")
    wanted = "a path, an image of Pillow, or an array (H, W, 3) of the type uint8, RGB"
    if not isinstance(image, np.ndarray):
        raise UserError(f"An image of the type {type(image).__name__} cannot be read: give {wanted}.")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise UserError(f"An array {image.shape} of the type {image.dtype} is not an image: give {wanted}.")
    return image


def _rgb(image: Image.Image, path: str | Path) -> np.ndarray:
    raw = raw_mode(image)
    image.load()
    return upright(to_rgb(image, raw, path), image)


def image_size(path: str | Path) -> tuple[int, int]:
    """Return the (H, W) of ``read_image``, from the header of the file alone. Errors as ``open_image``."""
    with open_image(path, pixels=False) as image:
        return upright_size(image)


def shows_transparency(path: str | Path) -> bool:
    """Return whether pixels of an image are transparent, which ``read_image`` ignores. Errors as ``open_image``."""
    with open_image(path, pixels=False) as image:
        return is_transparent(image)


def check_image(path: str | Path) -> frozenset[str]:
    """Check the header and the end of an image. Check the pixels, too, if they have more than 8 bits, since these may
    have another range than their type, or if the file may be truncated. Return the keys of ``REMARKS`` that hold for
    the image. Errors as ``read_image``."""
    with open_image(path, pixels=False) as image:
        wide = is_wide(image)
        remarks = {"frames"} if has_frames(image) else set()
        remarks |= {"transparent"} if is_transparent(image) else set()
    pixels = read_image(path) if wide or not is_complete(path) else None
    if wide and pixels is not None and 0 < int(pixels.max(initial=0)) < 64:
        remarks.add("dark")
    return frozenset(remarks)


def remark(kind: str, paths: Sequence[Path]) -> str:
    """Return the line of ``REMARKS`` about images, of which there is at least one."""
    one, several, rest = REMARKS[kind]
    return f"{count(len(paths), one, several)} {rest.format(example=paths[0])}"


class FoundImages(NamedTuple):
    """Name and file of each image in a folder, and the files that look like images and are not read."""

    pairs: list[tuple[str, Path]]
    not_read: list[Path]


def find_images(folder: Path, skip: Callable[[Path], bool] = lambda _: False) -> FoundImages:
    """Return the images in a folder and its subfolders, without those to ``skip`` (see ``files_below``).

    The name of an image is the path below the folder, with ``/``, without suffix, in Unicode's form NFC.

    Raises:
        UserError: if a folder cannot be read; with all names that are not UTF-8.
    """
    files = list(files_below(folder, skip))
    found = [path for path in files if is_image_file(path.name)]
    if odd := [str(path).encode("utf-8", "backslashreplace").decode() for path in found if HALF.search(str(path))]:
        raise UserError(
            f"{count(len(odd), 'image has a name', 'images have names')} not in UTF-8. Rename:\n{listing(odd)}"
        )
    pairs = [(nfc(path.relative_to(folder).with_suffix("").as_posix()), path) for path in found]
    return FoundImages(pairs, [path for path in files if is_other_image(path.name)])


def image_name(cell: str) -> str:
    """Return the name of the image that a table calls ``cell``: with or without suffix, with ``/`` or ``\\``."""
    path = PurePosixPath(nfc(cell).strip().replace("\\", "/"))
    return str(path.with_suffix("") if path.suffix.lower() in SUFFIXES else path)


def mask_file(folder: Path, name: str) -> Path:
    """Return the path of an image's mask. A file whose name is in Unicode's form NFD, as macOS writes it, counts."""
    path = folder / f"{name}.png"
    if name.isascii() or path.exists():
        return path
    decomposed = folder / unicodedata.normalize("NFD", f"{name}.png")
    return decomposed if decomposed.exists() else path


def name_clashes(pairs: Iterable[tuple[str, Path]]) -> dict[str, list[Path]]:
    """Return files whose names are equal up to upper and lower case, which many file systems treat as one, by name."""
    by_name = defaultdict(list)
    for name, path in pairs:
        by_name[name.casefold()].append(path)
    return {name: sorted(paths) for name, paths in by_name.items() if len(paths) > 1}
