"""The audit as one page, and as one picture: figures, and the images that show best how good and bad cues are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from secseg.cue_making.audit.examples import Section
from secseg.data.splits import ImageSet
from secseg.drawing.html import figure_source, mask_source, photo_source, render
from secseg.drawing.overlays import GalleryItem, cues_over_grey, hex_colour
from secseg.drawing.panels import panel


def audit_page(
    title: str,
    tables: Sequence[str],
    bars: Figure,
    sections: Sequence[Section],
    items: Mapping[int, GalleryItem],
    images: ImageSet,
) -> str:
    """Return the page as HTML; all pictures are in it, so it opens without a network.

    Args:
        title: heads the page.
        tables: text tables.
        bars: the figures by class.
        sections: what to show; rows without an item are left out.
        items: by row, photograph, cues and mask.
        images: gives classes and colours.
    """
    tiles = {row: _tiles(item, images) for row, item in items.items()}
    shown = [
        [
            (tiles[row], f"{items[row].name}: {caption}")
            for row, caption in zip(section.rows, section.captions, strict=True)
            if row in items
        ]
        for section in sections
    ]
    colours = [hex_colour(images.palette[number]) for number in range(len(images.class_names))]
    return render(
        "audit.html",
        title=title,
        tables=tables,
        bars=figure_source(bars),
        with_truth=any(item.mask is not None for item in items.values()),
        legend=list(zip(images.class_names, colours, strict=True)),
        sections=list(zip([section.title for section in sections], shown, strict=True)),
    )


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


def _tiles(item: GalleryItem, images: ImageSet) -> list[tuple[str, str]]:
    """What each picture of an image is, and its address."""
    tiles = [("photograph", photo_source(item.photo))]
    if item.cues is not None:
        tiles.append(("cues", photo_source(cues_over_grey(item.photo, item.cues, images.palette))))
    if item.mask is not None:
        tiles.append(("ground truth", mask_source(item.mask, images.palette)))
    return tiles
