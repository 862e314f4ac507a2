"""Names with markup are shown as text: in the report, in its embedded data and figures, and in the audit page."""

from __future__ import annotations

import html
import json
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml

from secseg.cue_making.audit.page import audit_file
from secseg.data.cues import CueStore
from secseg.data.splits import ImageSet
from secseg.evaluation.report.build import report
from tests.cue_making import random_cues
from tests.evaluation.report.synthetic import write_run
from tests.evaluation.report.test_build import config

pytestmark = pytest.mark.filterwarnings("ignore:Glyph")  # for control characters

NAMES = (
    "</script><script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "javascript:alert(1)",
    "]]></text><script>alert(1)</script>",
    "<!--<script>",
    "{{ 7 * 7 }} {% raw %} $\\frac{1}{$",
    "&lt;b&gt; &amp; \u202e\u2028 \x0b\x00.",
)


class Tags(HTMLParser):
    """The tags and attributes of a page, and the content of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts[-1] += data


def check(text: str, scripts: int) -> Tags:
    """Check that a page has only the tags, handlers and addresses of its template."""
    page = Tags(text)
    assert len(page.scripts) == scripts
    assert not [key for key, _ in page.attributes if key.startswith("on")]
    addresses = [value or "" for key, value in page.attributes if key in ("src", "href", "action", "data")]
    assert all(address.startswith(("data:image/", "#")) for address in addresses)
    assert not {"iframe", "object", "embed", "form", "base", "link"} & set(page.tags)
    assert ">49 " not in text
    for svg in (b64decode(address.partition(",")[2]) for address in addresses if "svg+xml" in address):
        elements = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(svg).iter()}
        assert not elements & {"script", "foreignObject", "a", "image", "img"}
    return page


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    base = tmp_path_factory.mktemp("pages")
    truths = {name: np.eye(20, 30, dtype=np.uint8) for name in NAMES[:3]}
    for number in range(3):
        folder = base / "runs" / f"<img src=x onerror=alert({number})>'\"&"
        write_run(folder, (), truths, 0.2 * (number + 1))
        settings: dict[str, Any] = yaml.safe_load((folder / "config.yaml").read_text())
        settings["name"], settings["decay"]["pos"] = NAMES[0], NAMES[number]
        settings["data"] = {"_target_": NAMES[1], "root": NAMES[0]}
        settings["loss"][NAMES[number + 3]] = number
        (folder / "config.yaml").write_text(yaml.safe_dump(settings))
        text = (folder / "results.json").read_text()
        classes = json.loads(text)["protocol"]["scored"]
        for old, new in zip(classes, NAMES, strict=False):
            text = text.replace(json.dumps(old), json.dumps(new))
        (folder / "results.json").write_text(text)
        with np.load(folder / "val_counts.npz") as stored:
            arrays = dict(stored)
        arrays["class_names"] = np.array([*NAMES[: len(classes)], *classes[len(NAMES) :]])
        np.savez(folder / "val_counts.npz", **arrays)
        (folder / "command.txt").write_bytes("; ".join(NAMES).encode() + b"\xff")
    failed = base / "runs" / NAMES[2]
    failed.mkdir()
    (failed / "failure.json").write_text(json.dumps({"reason": NAMES[0]}))
    out = report(config(base / "runs", base / "out", title=NAMES[1], baseline=None), NAMES[0])
    return (out / "report.html").read_text("utf-8")


def test_a_report_shows_markup_as_text(page: str) -> None:
    found = check(page, scripts=2)
    assert {"h1", "table", "details"} <= set(found.tags)
    for name in NAMES[:5]:
        assert html.escape(name, quote=False).split("'")[0].split('"')[0] in page


def test_the_data_within_a_report_are_the_names_and_cannot_end_their_script(page: str) -> None:
    data, _ = check(page, scripts=2).scripts
    assert "<" not in data
    gallery = json.loads(data)
    assert [image["name"] for image in gallery["images"]] == sorted(NAMES[:3])
    assert [name for name, _ in gallery["classes"]][:5] == list(NAMES[:5])


def test_an_audit_shows_markup_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_cues, "NAMES", ("background", *NAMES[:4]))
    store = random_cues.random_store(0)
    images = random_cues.image_set(tmp_path, store, random_cues.random_masks(tmp_path, store, 0))
    renamed = dict(zip(store.names, [*NAMES[:5], "x", "y"], strict=True))
    odd = CueStore(
        [renamed[name] for name in store.names], store.maps, store.labels, {"source": NAMES[0], "file": NAMES[1]}
    )
    images = ImageSet(NAMES[0], tuple(odd.names), images.images, images.masks, images.class_names, images.palette)
    audit_file(odd, images, tmp_path / "audit")
    text = (tmp_path / "audit" / "audit.html").read_text("utf-8")
    found = check(text, scripts=0)
    assert "figcaption" in found.tags
    assert html.escape(NAMES[0], quote=False) in text
