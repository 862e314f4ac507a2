"""Pages of one HTML file each, pictures and all: they open without a network. Their templates are in the folder templates."""

from __future__ import annotations

import io
import re
from base64 import b64encode
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image

from secseg.data.classes import VOID
from secseg.data.images import palette_image
from secseg.drawing.overlays import VOID_COLOUR

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_SVG: Any = {"svg.fonttype": "none", "svg.hashsalt": "secseg", "font.family": "sans-serif"}


def render(template: str, **values: Any) -> str:
    """Return the page that a template makes of ``values``; all text in them is escaped."""
    return _TEMPLATES.get_template(template).render(**values)


def source(data: bytes, kind: str) -> str:
    """Return a file's content as the address of an image; ``kind`` is ``png``, ``jpeg`` or ``svg+xml``."""
    return f"data:image/{kind};base64,{b64encode(data).decode()}"


def photo_source(photo: np.ndarray) -> str:
    """Return a picture (H, W, 3) uint8 as the address of a JPEG."""
    data = io.BytesIO()
    Image.fromarray(photo).save(data, format="JPEG", quality=80, optimize=True)
    return source(data.getvalue(), "jpeg")


def mask_source(mask: np.ndarray, palette: np.ndarray) -> str:
    """Return a mask (H, W) uint8, 255 = void, as the address of a palette PNG that has no colour that it does not need.

    Args:
        palette: (256, 3) uint8, RGB.
    """
    values, places = np.unique(mask, return_inverse=True)
    colours = np.where((values == VOID)[:, None], np.array(VOID_COLOUR, np.uint8), palette[values])
    data = io.BytesIO()
    image = palette_image(places.reshape(mask.shape).astype(np.uint8), colours.astype(np.uint8))
    image.save(data, format="PNG", optimize=True)
    return source(data.getvalue(), "png")


def figure_source(figure: Figure) -> str:
    """Return a figure as the address of an SVG."""
    return source(svg(figure), "svg+xml")


def svg(figure: Figure) -> bytes:
    """Return a figure as an SVG whose text is text; the same figure makes the same bytes. Of control characters, which
    would spoil the file, it makes question marks."""
    data = io.BytesIO()
    with matplotlib.rc_context(_SVG):
        figure.savefig(data, format="svg", metadata={"Date": None})
    return re.sub(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]", b"?", data.getvalue())
