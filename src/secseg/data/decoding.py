"""Decode image files with Pillow: open them, rotate them as their orientation tag says, and convert pixels to RGB."""

from __future__ import annotations

import io
import os
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from secseg.utils.errors import UserError

try:
    from PIL.AvifImagePlugin import SUPPORTED as AVIF
except ImportError:  # Pillow before 11.3
    AVIF = False

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", *(("AVIF",) if AVIF else ()))
"""Formats that are read, whatever the name of the file. Pillow knows more, and passes some to other programs (EPS)."""
DARK = 16
"""An image whose brightest value is below 1/16 of its range is black after the conversion to bytes. More likely, its
values have another range: 12 bits in a file of 16 bits, for example."""
SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"GIF8": "GIF",
}
ISO_BRANDS = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC", b"msf1": "HEIC", b"avif": "AVIF", b"crx ": "CR3"}
"""Formats in ISO's container, some of which are not read, by the brand in their header."""
# Damaged metadata counts as none (see ``_orientation``). Pillow would warn of each such file, with a path in Pillow.
warnings.filterwarnings("ignore", message="Corrupt EXIF data|Tag data larger than file", module=r"PIL\.")
TAIL = 64
"""Bytes in which a file's end marker is searched: some programs write zeros after it."""
PNG_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf")


@contextmanager
def open_image(path: str | Path, pixels: bool = True) -> Iterator[Image.Image]:
    """Open an image file and, unless ``pixels`` is false, decode its pixels.

    Raises:
        UserError: if the file is missing, not readable, not an image, truncated, or too large. Other errors within the
            block are reported as damage of the file, too.
    """
    try:
        with _opened(path, pixels) as image:
            yield image
    except UserError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(
            f"The image {path} has more pixels than Pillow's limit, PIL.Image.MAX_IMAGE_PIXELS ({error}).",
            "Cut it into tiles, or make it smaller.",
        ) from error
    except UnidentifiedImageError as error:
        raise UserError(*_not_identified(path)) from error
    except FileNotFoundError as error:
        link = f" {path} is a link to a file that does not exist." if Path(path).is_symlink() else ""
        raise UserError(f"There is no image at {path}.{link}") from error
    except IsADirectoryError as error:
        raise UserError(f"{path} is a folder, not an image. Give a file.") from error
    except PermissionError as error:
        raise UserError(f"The image {path} cannot be read: you lack the permission.") from error
    except Exception as error:  # Pillow raises many kinds of errors for damaged files
        raise UserError(f"The image {path} is truncated or damaged ({error}).", "Fetch it again.") from error


def is_complete(path: str | Path) -> bool:
    """Return whether an image file has its end: the end marker of a JPEG or PNG, the length that a BMP states.

    A few bytes are read. A file of another format counts as complete; Pillow opens no truncated WEBP. A JPEG to which a
    program has appended something may have no marker at its end: decode it to be sure.

    Raises:
        OSError: if the file cannot be read.
    """
    with open(path, "rb") as file:
        start = file.read(12)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL))
        end = file.read()
    if start.startswith(b"\xff\xd8\xff"):
        return b"\xff\xd9" in end
    if start.startswith(b"\x89PNG"):
        return b"IEND" in end
    return start[:2] != b"BM" or int.from_bytes(start[2:6], "little") <= size


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return (H, W) of the image after ``upright``. The pixels of ``image`` must not be decoded yet."""
    width, height = image.size
    if isinstance(image, TiffImageFile):  # the size that Pillow reports here depends on its version
        width, height = image.tag_v2[ExifTags.Base.ImageWidth], image.tag_v2[ExifTags.Base.ImageLength]
    return (width, height) if _orientation(image) in (5, 6, 7, 8) else (height, width)


def upright(pixels: np.ndarray, image: Image.Image) -> np.ndarray:
    """Rotate and mirror ``pixels`` (H, W, ...) of ``image``, which is decoded, as its orientation tag says."""
    if isinstance(image, TiffImageFile):  # Pillow did so when it decoded the pixels
        return pixels
    orientation = _orientation(image)
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def is_wide(image: Image.Image) -> bool:
    """Return whether a value of ``image``, whose pixels are not decoded yet, has more than 8 bits."""
    return image.mode.startswith(("I", "F")) or ";16" in raw_mode(image)


def is_transparent(image: Image.Image) -> bool:
    """Return whether a pixel of ``image`` is transparent. The pixels are decoded only if they have transparency."""
    if image.mode not in ("LA", "PA", "RGBA") and "transparency" not in image.info:
        return False
    if image.mode.startswith("I"):
        return False  # a PNG of 16 bits: one grey value is transparent, as no program draws it
    return int(np.asarray(image.convert("RGBA").getchannel("A")).min(initial=255)) < 255


def has_frames(image: Image.Image) -> bool:
    """Return whether the file holds several images. The second image of a phone's JPEG (MPO) does not count."""
    try:
        return image.format != "MPO" and getattr(image, "n_frames", 1) > 1
    except Exception:  # a later page is damaged
        return True


def raw_mode(image: Image.Image) -> str:
    """Return Pillow's name of the pixels in the file; an empty string if they are decoded, or the name is unknown."""
    tiles = getattr(image, "tile", None)
    args = tiles[0][3] if tiles else ""
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def to_rgb(image: Image.Image, raw: str, path: str | Path) -> np.ndarray:
    """Return the pixels of a decoded image as (H, W, 3) uint8 RGB, not rotated. Transparency is ignored.

    Args:
        image: the image.
        raw: ``raw_mode`` of the image, from before its pixels were decoded.
        path: the file, for messages.

    Raises:
        UserError: if the pixels have another range than their type, or a mode that cannot be converted.
    """
    if image.mode.startswith("I"):
        return _from_whole(image, raw, path)
    if image.mode == "F":
        return _from_float(image, path)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # without this step, Pillow warns
    try:
        rgb = np.array(image.convert("RGB"))
    except ValueError as error:
        raise UserError(
            f"The image {path} has pixels of the mode {image.mode}, which cannot be converted to RGB. Save it as an "
            "8-bit RGB image."
        ) from error
    if ";16" in raw and rgb.size and rgb.max() < DARK:  # Pillow keeps the upper 8 bits of 16
        raise _other_range(path, f"16-bit pixels, but no value above {(int(rgb.max()) + 1) * 256 - 1} of 65535")
    return rgb


def _from_whole(image: Image.Image, raw: str, path: str | Path) -> np.ndarray:
    values = np.asarray(image, dtype=np.int64)
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    bits = 12 if raw == "I;12" else 16
    if low < 0 or high >= 2**bits or 0 < high < 2**bits // DARK:
        raise _other_range(path, f"{'32-bit' if '32' in raw else '16-bit'} grey values from {low} to {high}")
    if isinstance(image, TiffImageFile) and image.tag_v2.get(ExifTags.Base.PhotometricInterpretation) == 0:
        values = 2**bits - 1 - values  # 0 is white
    return _grey((values >> bits - 8).astype(np.uint8))


def _from_float(image: Image.Image, path: str | Path) -> np.ndarray:
    values = np.asarray(image)
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if 0 <= low <= high <= 1:
        return _grey(np.round(values * 255).astype(np.uint8))
    if low >= 0 and DARK <= high <= 255:
        return np.array(image.convert("RGB"))
    raise _other_range(path, f"floating-point values from {low:g} to {high:g}")


def _grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


def _other_range(path: str | Path, what: str) -> UserError:
    return UserError(
        f"The image {path} has {what}: the true range of the pixels is unknown.",
        "Scale the images of the data set in the same way to 0..255, and save them with 8 bits.",
    )


def _opened(path: str | Path, pixels: bool) -> Image.Image:
    """Open a file. If a PNG cannot be read, try again without its metadata."""
    try:
        return _loaded(path, pixels)
    except Image.DecompressionBombError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and not isinstance(error, UnidentifiedImageError):
            raise
        content = _without_metadata(Path(path).read_bytes())
        if content is None:
            raise
    return _loaded(io.BytesIO(content), pixels)


def _loaded(file: str | Path | io.BytesIO, pixels: bool) -> Image.Image:
    image = Image.open(file, formats=FORMATS)
    try:
        if isinstance(image, TiffImageFile):
            image.filename = ""  # else Pillow maps the file into memory, with a wrong width if the image is rotated
        if pixels:
            image.load()
    except BaseException:
        image.close()
        raise
    return image


def _without_metadata(content: bytes) -> bytes | None:
    """Return a PNG without the chunks that only describe its pixels, except a whole orientation; None if no PNG."""
    if content[:4] != b"\x89PNG":
        return None
    kept, at = [content[:8]], 8
    while at + 12 <= len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4])
        kind, checked = content[at + 4 : at + 8], content[at + 4 : end - 4]
        whole = zlib.crc32(checked) == int.from_bytes(content[end - 4 : end])
        if kind in PNG_CHUNKS and (whole or kind != b"eXIf"):
            kept.append(content[at:end])
        at = end
    return b"".join(kept)


def _orientation(image: Image.Image) -> int:
    """Return the orientation tag, 1 to 8; 1 (upright) without a tag, or if the metadata is damaged."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # Pillow raises many kinds of errors for damaged metadata
        return 1


def _not_identified(path: str | Path) -> tuple[str, str]:
    """Return what is wrong with a file that Pillow does not recognise, and what to do."""
    with Path(path).open("rb") as file:
        start = file.read(12)
    known = [kind for signature, kind in SIGNATURES.items() if start.startswith(signature)]
    if start[4:8] == b"ftyp" and start[8:12] in ISO_BRANDS:
        known = [ISO_BRANDS[start[8:12]]]
    if known and known[0] not in FORMATS:
        return f"{path} is an image of the format {known[0]}, which is not read here.", "Convert it to JPEG or PNG."
    if known:
        return (
            f"{path} is a file of the format {known[0]}, but its header is damaged or describes pixels of a kind that "
            "Pillow does not read.",
            "Fetch it again, or save it as an 8-bit RGB image.",
        )
    return f"{path} is not an image, or its header is damaged.", "Fetch it again, or save it as JPEG or PNG."
