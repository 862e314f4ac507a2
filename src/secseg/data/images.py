"""Read images and masks, write masks, and find the images in a folder. What cannot be read is reported by name."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from secseg.data.classes import VOID
from secseg.utils.errors import UserError, listing
from secseg.utils.files import atomic_write

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF")
"""Formats that are read, whatever the name of the file. Pillow knows more, and passes some to other programs (EPS)."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""Suffixes of the images in a folder, in upper or lower case."""
KINDS = ", ".join(SUFFIXES)
HALF = re.compile("[\ud800-\udfff]")
"""Python's form of a byte of a file name that is not UTF-8."""


def read_image(path: str | Path) -> np.ndarray:
    """Read an image of any colour mode as (H, W, 3) uint8 RGB, rotated as its EXIF data says.

    Raises:
        UserError: if the file is missing, not readable, truncated or not an image.
    """
    with _open(path) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode in ("I;16", "I;16B", "I"):  # 16-bit grey: Pillow would clip it to white
            grey = np.asarray(upright, dtype=np.int64) >> 8
            return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
        return np.array(upright.convert("RGB"))


def image_size(path: str | Path) -> tuple[int, int]:
    """Return the (H, W) of ``read_image``, from the header of the file alone. Errors as ``read_image``."""
    with _open(path, pixels=False) as image:
        width, height = image.size
        rotated = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    return (width, height) if rotated else (height, width)


def read_mask(path: str | Path, num_classes: int, size: tuple[int, int] | None = None) -> np.ndarray:
    """Read a mask from a palette or grey PNG: (H, W) uint8, class numbers and 255 = void.

    Args:
        path: the file.
        num_classes: legal class numbers are 0..``num_classes`` - 1.
        size: (H, W) of the image; None for any size.

    Raises:
        UserError: as ``read_image``; if the mask holds colours or illegal values, or does not have this size.
    """
    with _open(path) as image:
        if image.mode not in ("P", "L", "1"):
            raise UserError(
                f"The mask {path} holds colours ({image.mode} pixels), not class numbers. Save it as a palette or grey "
                f"PNG (8 bits) whose values are the class numbers 0..{num_classes - 1} and {VOID} for void."
            )
        mask = np.array(image, dtype=np.uint8)
    illegal = num_classes + np.flatnonzero(np.bincount(mask.reshape(-1), minlength=256)[num_classes:VOID])
    if len(illegal):
        values = ", ".join(map(str, illegal[:10])) + (" ..." if len(illegal) > 10 else "")
        raise UserError(
            f"The mask {path} holds the values {values}; a mask of {num_classes} classes holds 0..{num_classes - 1} "
            f"and {VOID} for void. Is it a mask of another data set?"
        )
    if size is not None and mask.shape != tuple(size):
        raise UserError(
            f"The mask {path} is {mask.shape[1]} x {mask.shape[0]} pixels, its image {size[1]} x {size[0]}. "
            "They must have the same size: make the mask again from this image."
        )
    return mask


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


def is_image_file(name: str) -> bool:
    """Return whether a file of this name counts as an image. Hidden files do not."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def find_images(folder: Path, skip: Callable[[Path], bool] = lambda _: False) -> list[tuple[str, Path]]:
    """Return name and file of each image in a folder and its subfolders, without hidden ones and those to ``skip``.

    The name is the path below the folder, with ``/``, without suffix.

    Raises:
        UserError: if a folder cannot be read; with all names that are not UTF-8.
    """

    def refuse(error: OSError) -> None:
        raise UserError(f"Cannot read the folder {error.filename}: {error.strerror}.") from error

    found: list[Path] = []
    for place, subfolders, files in os.walk(folder, onerror=refuse):
        subfolders[:] = [name for name in subfolders if not name.startswith(".") and not skip(Path(place, name))]
        found += [Path(place, name) for name in files if is_image_file(name)]
    if odd := [str(path).encode("utf-8", "backslashreplace").decode() for path in found if HALF.search(str(path))]:
        raise UserError(f"{len(odd)} images have names that are not UTF-8. Rename them:\n{listing(odd)}")
    return [(path.relative_to(folder).with_suffix("").as_posix(), path) for path in found]


def image_name(cell: str) -> str:
    """Return the name of the image that a table calls ``cell``: with or without suffix, with ``/`` or ``\\``."""
    path = PurePosixPath(cell.strip().replace("\\", "/"))
    return str(path.with_suffix("") if path.suffix.lower() in SUFFIXES else path)


def name_clashes(pairs: Iterable[tuple[str, Path]]) -> dict[str, list[Path]]:
    """Return files whose names are equal up to upper and lower case, which many file systems treat as one, by name."""
    by_name = defaultdict(list)
    for name, path in pairs:
        by_name[name.casefold()].append(path)
    return {name: sorted(paths) for name, paths in by_name.items() if len(paths) > 1}


@contextmanager
def _open(path: str | Path, pixels: bool = True) -> Iterator[Image.Image]:
    """Open an image file and decode its pixels. Errors within the block are reported as damage, too."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            if pixels:
                image.load()
            yield image
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(
            f"{path} is not an image, or its header is damaged. Fetch it again; the formats are {', '.join(FORMATS)}."
        ) from error
    except FileNotFoundError as error:
        raise UserError(f"There is no image at {path}.") from error
    except PermissionError as error:
        raise UserError(f"The image {path} cannot be read: you lack the permission.") from error
    except Exception as error:  # Pillow raises many kinds of errors for damaged files
        raise UserError(f"The image {path} is truncated or damaged ({error}). Fetch it again.") from error
