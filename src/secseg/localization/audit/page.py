"""The audit as one page, and as one picture: figures, and the images that show best how good and bad cues are."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape

from matplotlib.figure import Figure

from secseg.data.imageset import ImageSet
from secseg.localization.audit.examples import Section, encoded
from secseg.panels import panel
from secseg.visualize import GalleryItem, colorize, cues_over_grey

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: white; margin: 2rem auto; max-width: 76rem;
       padding: 0 1rem }
pre { font-size: 12.5px; line-height: 1.35; overflow-x: auto }
h2 { margin: 2rem 0 .5rem; font-size: 1.15rem; border-bottom: 1px solid #ddd }
.images { display: flex; flex-wrap: wrap; gap: 1rem }
figure { margin: 0 } figure img { height: 130px; margin-right: 3px }
figcaption { font-size: 13px; color: #444 }
.legend span { display: inline-block; margin-right: .9rem; white-space: nowrap }
.legend i { display: inline-block; width: .9em; height: .9em; border: 1px solid #888; margin-right: .3em }
"""


def audit_page(
    title: str,
    tables: Sequence[str],
    bars: bytes,
    sections: Sequence[Section],
    items: Mapping[int, GalleryItem],
    images: ImageSet,
) -> str:
    """Return the page as HTML; all pictures are in it, so it opens without a network.

    Args:
        title: heads the page.
        tables: text tables.
        bars: PNG of the figures by class.
        sections: what to show; rows without an item are left out.
        items: by row, photograph, cues and mask.
        images: gives classes and colours.
    """
    legend = "".join(
        f'<span><i style="background: rgb{tuple(images.palette[number].tolist())}"></i>{escape(name)}</span>'
        for number, name in enumerate(images.class_names)
    )
    parts = [
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
        f"<style>{STYLE}</style></head><body><h1>{escape(title)}</h1>",
        *(f"<pre>{escape(table)}</pre>" for table in tables),
        f'<img alt="figures by class" src="{_source(bars, "png")}">',
        "<h2>Images</h2><p>Photograph, cues"
        + (", ground truth" if any(item.mask is not None for item in items.values()) else "")
        + f'.</p><p class="legend">{legend}</p>',
    ]
    tiles = {row: _tiles(item, images) for row, item in items.items()}
    for section in sections:
        parts.append(f'<h2>{escape(section.title)}</h2><div class="images">')
        for row, caption in zip(section.rows, section.captions, strict=True):
            if row in items:
                text = f"{escape(items[row].name)}: {escape(caption)}"
                parts.append(f"<figure>{tiles[row]}<figcaption>{text}</figcaption></figure>")
        parts.append("</div>")
    return "\n".join([*parts, "</body></html>\n"])


def audit_figure(sections: Sequence[Section], items: Mapping[int, GalleryItem], images: ImageSet) -> Figure:
    """Draw the images of some sections, one a row, with title and caption."""
    shown = [
        (items[row], f"{section.title.lower()}: {caption}")
        for section in sections
        for row, caption in zip(section.rows, section.captions, strict=True)
        if row in items
    ]
    figure = panel([item for item, _ in shown], images.class_names, images.palette)
    for axes, (_, text) in zip(figure.axes, shown, strict=False):  # the first column comes first
        box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5}
        axes.text(3, 3, text, fontsize=6.5, va="top", bbox=box, parse_math=False)
    return figure


def _tiles(item: GalleryItem, images: ImageSet) -> str:
    pictures = [("photograph", item.photo, "JPEG")]
    if item.cues is not None:
        pictures.append(("cues", cues_over_grey(item.photo, item.cues, images.palette), "JPEG"))
    if item.mask is not None:
        pictures.append(("ground truth", colorize(item.mask, images.palette), "PNG"))
    return "".join(
        f'<img alt="{alt}" src="{_source(encoded(picture, form), form.lower())}">' for alt, picture, form in pictures
    )


def _source(data: bytes, form: str) -> str:
    return f"data:image/{form};base64,{b64encode(data).decode()}"
