"""Fonts for class names in any script. Matplotlib's default font has no Chinese, Japanese or Korean, for example."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

log = logging.getLogger(__name__)

_GLYPH = r"Glyph (\d+) .*missing from"  # what Matplotlib warns of
_BOXES = "Last Resort"  # Matplotlib's font that has a box for every character
_reported: set[str] = set()


def save_in_any_script(figure: Figure, save: Callable[[], object], warn: bool = True) -> None:
    """Call ``save``, and call it again with further fonts if the fonts of the figure lack characters of its texts.

    Args:
        figure: the figure that ``save`` writes.
        save: writes it.
        warn: whether to log the texts for which no installed font is found. Their missing characters are drawn as
            boxes.
    """
    with warnings.catch_warnings(record=True) as found:
        warnings.filterwarnings("always", _GLYPH)
        save()
    lacking = set()
    for warning in found:
        if glyph := re.match(_GLYPH, str(warning.message)):
            lacking.add(chr(int(glyph[1])))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if not lacking:
        return
    families, without = find_fonts("".join(sorted(lacking)))
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text) and lacking & set(text.get_text())]
    for text in texts:
        text.set_fontfamily([*text.get_fontfamily(), *families])
    if warn:
        _report(without, [text.get_text() for text in texts])
    with no_glyph_warnings():
        save()


@contextmanager
def no_glyph_warnings() -> Iterator[None]:
    """Ignore Matplotlib's warnings of missing characters, one for each character and each time that it is drawn."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", _GLYPH)
        yield


@lru_cache
def find_fonts(characters: str) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the families of as few installed fonts as possible that have these characters, and those without a font.

    Fonts that were installed after Matplotlib had made its list are found, too.
    """
    missing = frozenset(characters)
    listed = {entry.fname for entry in font_manager.fontManager.ttflist}
    for path in sorted(set(font_manager.findSystemFonts()) - listed):
        with suppress(RuntimeError, OSError, ValueError):  # fonts of bitmaps, and damaged files
            font_manager.fontManager.addfont(path)
    # Upright sans-serif fonts of normal weight come first, and the order does not depend on the file system.
    entries = [
        entry for entry in font_manager.fontManager.ttflist if entry.style == "normal" and _BOXES not in entry.name
    ]
    entries.sort(key=lambda entry: ("Sans" not in entry.name, str(entry.weight) not in ("400", "normal"), entry.name))
    covered: dict[str, frozenset[str]] = {}
    for entry in entries:
        if entry.name not in covered:
            covered[entry.name] = _covered(entry.fname, missing)
    families: list[str] = []
    while missing:
        best = max(covered, key=lambda name: len(covered[name] & missing))
        if not covered[best] & missing:
            break
        families.append(best)
        missing -= covered[best]
    return tuple(families), missing


def _covered(path: str, characters: frozenset[str]) -> frozenset[str]:
    try:
        glyphs = FT2Font(path).get_charmap()
    except (RuntimeError, OSError):
        return frozenset()
    return frozenset(character for character in characters if ord(character) in glyphs)


def _report(characters: frozenset[str], texts: list[str]) -> None:
    """Log once which texts have characters without a font."""
    new = characters - _reported
    if not new:
        return
    _reported.update(new)
    names = ", ".join(dict.fromkeys(text for text in texts if new & set(text)))
    log.warning(
        "No installed font has all characters of these names, so the pictures show boxes: %s. Install a font for this "
        "script (on Debian and Ubuntu: apt install fonts-noto-core fonts-noto-cjk).",
        names,
    )
