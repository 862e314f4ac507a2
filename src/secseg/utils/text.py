"""Text that users write: decoded from the encodings of common programs, and in one Unicode form. Numbers of bytes as
text."""

from __future__ import annotations

import codecs
import unicodedata
from pathlib import Path

from secseg.utils.errors import UserError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: its mark starts with that of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def size_text(count: float) -> str:
    """Return a number of bytes with three digits and a decimal unit: ``812 bytes``, ``4.20 kB``, ``77.1 GB``."""
    value, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    digits = 0 if unit == "bytes" or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f} {unit}"


def count(number: int, one: str, several: str | None = None) -> str:
    """Return ``number`` with words that agree: ``count(1, "image")`` is "1 image", ``count(2, "image")`` "2 images".

    Args:
        number: how many.
        one: the words for one: a noun, or a noun with its verb (``"image has"``).
        several: the words for any other number; None for a regular plural of ``one``.
    """
    if number == 1:
        return f"1 {one}"
    return f"{number} {several or one + ('es' if one.endswith(('s', 'x', 'ch', 'sh')) else 's')}"


def part_of(part: int, whole: int, noun: str, one: str, several: str) -> str:
    """Return a part of a whole with a verb that agrees: "1 of 160 images has", "2 of 160 images have"."""
    return f"{part} of {count(whole, noun)} {one if part == 1 else several}"


def nfc(text: str) -> str:
    """Return ``text`` in Unicode's form NFC. macOS and some programs write letters with marks as two characters."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def read_text(path: Path) -> str:
    """Return the text of a file, without byte order mark, in Unicode's form NFC.

    The encoding is UTF-8, or UTF-16 or UTF-32 with a byte order mark.

    Raises:
        OSError: if the file cannot be read.
        UserError: if the file is not text in one of these encodings. The message has no subject: "line 2 is not UTF-8".
    """
    return decode(path.read_bytes())


def decode(data: bytes) -> str:
    """Return ``data`` as text; see ``read_text``."""
    mark, encoding = next(((mark, encoding) for mark, encoding in _MARKS if data.startswith(mark)), (b"", "utf-8"))
    try:
        text = data.removeprefix(mark).decode(encoding)
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count("\n".encode(encoding)) + 1
        raise UserError(f"line {line} is not {encoding[:6].rstrip('-').upper()}. Save the file as UTF-8.") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise UserError(f"line {line} holds zero bytes, which text does not have. Save the file as UTF-8.")
    return nfc(text)
