"""HTML pages from ``templates/``. A page is one file with all its images, so it opens without a network."""

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
from secseg.data.masks import palette_image
from secseg.drawing.fonts import save_in_any_script
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
    """Return the page of a template with ``values``, whose text is escaped."""
    return _TEMPLATES.get_template(template).render(**values)


def source(data: bytes, kind: str) -> str:
    """Return the content of an image file as a data URL; ``kind`` is ``png``, ``jpeg`` or ``svg+xml``."""
    return f"data:image/{kind};base64,{b64encode(data).decode()}"


def image_source(image: np.ndarray) -> str:
    """Return an image (H, W, 3) uint8 as the data URL of a JPEG."""
    data = io.BytesIO()
    Image.fromarray(image).save(data, format="JPEG", quality=80, optimize=True)
    return source(data.getvalue(), "jpeg")


def mask_source(mask: np.ndarray, palette: np.ndarray) -> str:
    """Return a mask (H, W) uint8, 255 = void, as the data URL of a palette PNG with only the colours of this mask."""
    values, indices = np.unique(mask, return_inverse=True)
    colours = np.where((values == VOID)[:, None], np.array(VOID_COLOUR, np.uint8), palette[values])
    data = io.BytesIO()
    image = palette_image(indices.reshape(mask.shape).astype(np.uint8), colours.astype(np.uint8))
    image.save(data, format="PNG", optimize=True)
    return source(data.getvalue(), "png")


def figure_source(figure: Figure) -> str:
    """Return a figure as the data URL of an SVG."""
    return source(svg(figure), "svg+xml")


def svg(figure: Figure) -> bytes:
    """Return a figure as an SVG in which text stays text, in a font of the viewer. Equal figures give equal bytes.

    Control characters, which are not allowed in XML, are replaced by question marks.
    """
    data = io.BytesIO()

    def save() -> None:
        data.seek(0)
        data.truncate()
        figure.savefig(data, format="svg", metadata={"Date": None})

    with matplotlib.rc_context(_SVG):
        save_in_any_script(figure, save, warn=False)
    return re.sub(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]", b"?", data.getvalue())
