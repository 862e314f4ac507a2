"""The files of an audit, and its page, which opens without a network."""

from __future__ import annotations

import dataclasses
import html
import io
import json
import re
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secseg.cue_making.audit.measure import count_cues, summarize
from secseg.cue_making.audit.page import audit_file, choose, classes_figure
from secseg.cue_making.audit.tables import OFFICIAL_QUALITY
from secseg.data.classes import VOC_CLASSES
from secseg.utils.errors import UserError
from tests.cue_making.random_cues import NAMES, image_set, random_masks, random_store


class Page(HTMLParser):
    """Addresses, captions and headings of a page; fails if a tag is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.texts: dict[str, list[str]] = {"h2": [], "figcaption": [], "pre": [], "td": [], "p": []}
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for key, value in attrs if key in ("src", "href")]
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in self.texts:
            self.texts[self.open[-1]].append(data)


def test_an_audit_writes_its_figures_and_a_page_with_tables(tmp_path: Path) -> None:
    store, other = random_store(0), random_store(1)
    images = image_set(tmp_path, store, random_masks(tmp_path, store, 0))
    figures = audit_file(store, images, tmp_path / "audit", against=other, scored=["cat", "dog"])
    written = sorted(path.name for path in (tmp_path / "audit").iterdir())
    assert written == ["audit.html", "audit.json"]
    assert json.loads((tmp_path / "audit" / "audit.json").read_text()) == figures
    assert figures["masks"]["images"] == 6
    page = Page((tmp_path / "audit" / "audit.html").read_text())
    assert [table.split()[0] for table in page.texts["pre"]] == ["size", "images"]
    for name in NAMES:
        precision = figures["classes"][name]["precision"]
        assert precision is None or f"{100 * precision:.1f}" in page.texts["td"]
    assert any("6 of 7 images have a mask. In these images, precision is the share" in text for text in page.texts["p"])


def test_the_page_shows_warnings_about_data_and_cues(tmp_path: Path) -> None:
    store = random_store(0)
    store.maps[:] = np.where(store.maps == 0, 255, store.maps)
    warnings = ["a class <b> is missing"]
    figures = audit_file(store, image_set(tmp_path, store, None), tmp_path, warnings=warnings)
    assert any("have no background cue" in line for line in figures["warnings"])
    page = (tmp_path / "audit.html").read_text()
    shown = re.findall('<p class="warning">(.*)</p>', page)
    assert list(map(html.unescape, shown)) == [*warnings, *figures["warnings"]]


@pytest.mark.parametrize("with_masks", [True, False])
def test_the_page_is_self_contained_and_shows_each_image_as_its_caption_says(tmp_path: Path, with_masks: bool) -> None:
    store = random_store(0)
    images = image_set(tmp_path, store, random_masks(tmp_path, store, 0) if with_masks else None)
    audit_file(store, images, tmp_path)
    page = Page((tmp_path / "audit.html").read_text())
    assert all(source.startswith("data:image/") for source in page.sources)
    bars, *sources = page.sources
    assert bars.startswith("data:image/svg+xml;")
    pictures = [Image.open(io.BytesIO(b64decode(source.split(",")[1]))) for source in sources]
    assert {picture.size for picture in pictures} == {(31, 23)}
    assert page.texts["h2"][:4] == ["All cues", "By class", "Images", "Labelled classes without a cue"]
    assert page.texts["figcaption"][0] == "image 0: without a cue: cat, dog"
    wanted = ("lowest precision", "highest precision") if with_masks else ("fewest cues", "most cues")
    assert {f"{NAMES[3]}: {word}" for word in wanted} & set(page.texts["h2"])
    tiles = 3 if with_masks else 2
    without_mask = page.texts["figcaption"].count("image 6: without a cue") if with_masks else 0
    assert not without_mask
    assert len(pictures) <= tiles * len(page.texts["figcaption"])
    assert len(pictures) > (tiles - 1) * len(page.texts["figcaption"])


def test_an_image_that_cannot_be_read_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = random_store(0)
    images = image_set(tmp_path, store, None)
    images.images[0].write_bytes(b"damaged")
    audit_file(store, images, tmp_path)
    page = Page((tmp_path / "audit.html").read_text())
    assert any("No image has a mask" in text for text in page.texts["p"])
    assert not any(caption.startswith("image 0:") for caption in page.texts["figcaption"])
    assert page.texts["figcaption"]
    assert "image 0 is not among the pictures" in caplog.text
    for path in images.images:
        path.unlink()
    audit_file(store, images, tmp_path / "none")
    assert Page((tmp_path / "none" / "audit.html").read_text()).texts["figcaption"] == []


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    store = random_store(0)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Cannot write"):
        audit_file(store, image_set(tmp_path, store, None), tmp_path / "file" / "audit")


def test_the_chosen_images_are_those_of_the_lowest_and_highest_values(tmp_path: Path) -> None:
    store = random_store(3, images=9, grid=(11, 11))
    masks = random_masks(tmp_path, store, 3)
    counts = count_cues(store, NAMES, masks)
    sections = {section.title: section for section in choose(counts, most=2, most_by_class=2)}
    share = counts.cued[:, 1:].sum(axis=1)
    order = [row for row in np.argsort(share, kind="stable").tolist() if counts.labelled[row].any()]
    rows = {title: [row for row, _ in section.images] for title, section in sections.items()}
    assert rows["foreground: fewest cues"] == order[:2]
    assert sorted(share[rows["foreground: most cues"]]) == sorted(share[order])[-2:]
    known, right = counts.known[:, 1], counts.right[:, 1]
    precision = {row: right[row] / known[row] for row in range(len(counts.names)) if known[row] >= 10}
    low, high = rows["cat: lowest precision"], rows["cat: highest precision"]
    assert not set(low) & set(high)
    assert [precision[row] for row in low] == sorted(precision.values())[: len(low)]
    assert [precision[row] for row in high] == sorted(precision.values(), reverse=True)[: len(high)]
    assert sections["cat: lowest precision"].images[0][1] == f"{100 * precision[low[0]]:.1f} % right"


def test_bars_have_marks_with_official_values_only_for_the_classes_of_voc(tmp_path: Path) -> None:
    store = random_store(0)
    masks = random_masks(tmp_path, store, 0)
    own = summarize(count_cues(store, NAMES, masks))
    voc = summarize(count_cues(store, VOC_CLASSES, masks))
    for figures, marks in ((own, []), (voc, [100 * OFFICIAL_QUALITY["background"]["precision"]])):  # type: ignore[operator]
        axes = classes_figure(figures).axes
        shown = [bar.get_width() for bar in axes[0].patches]
        present = [values["precision"] for values in figures["classes"].values() if values["precision"] is not None]
        assert shown == pytest.approx([100 * value for value in present])
        assert [mark for line in axes[0].lines for mark in line.get_xdata()] == pytest.approx(marks)
    coverage = classes_figure(summarize(dataclasses.replace(count_cues(store, NAMES))))
    assert re.search("coverage", coverage.axes[0].get_xlabel())
