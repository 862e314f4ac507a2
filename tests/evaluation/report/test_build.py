"""The page as a file, and in a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from secseg.evaluation.report.build import report
from tests.browser import CHROMIUM, Browser
from tests.evaluation.report.conftest import Sweep
from tests.evaluation.report.synthetic import write_run

TITLE = "A <b>title</b> & \"more\" </script><script>throw 'title'</script>"
COMMAND = "python src/report.py 'title=<i>x</i>'"

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def folder(sweep: Sweep, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "out"
    return report(config(sweep.folder, out, title=TITLE), COMMAND)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, folder: Path) -> Browser:
    browser.open(folder / "report.html")
    return browser


def config(runs: Path, out: Path, **others: Any) -> dict[str, Any]:
    return {"runs": str(runs), "baseline": None, "title": None, "images": 4, "out": str(out), "run_dir": "x", **others}


def texts(page: Browser, selector: str) -> list[str]:
    found = page.run(f"[...document.querySelectorAll({selector!r})].map((element) => element.textContent)")
    return [str(text) for text in found]


def choose(page: Browser, which: str, value: str) -> None:
    select = f"document.getElementById('{which}')"
    page.run(f"{select}.value = '{value}'; {select}.dispatchEvent(new Event('change'))")


def last_mask(page: Browser) -> str:
    return str(page.run("document.querySelector('#tiles figure:last-child img').src"))


def test_one_file_holds_everything_it_shows(folder: Path) -> None:
    assert {"report.html", "report.md", "results.csv", "figures"} <= {path.name for path in folder.iterdir()}
    text = (folder / "report.html").read_text("utf-8")
    assert all(address.startswith(("data:image/", "#")) for address in re.findall(r'(?:src|href)="([^"]*)"', text))
    assert not re.search(r"@import|url\(", text)


def test_the_figures_are_files_that_the_markdown_links(folder: Path) -> None:
    named = re.findall(r"\]\(figures/([^)]+)\)", (folder / "report.md").read_text("utf-8"))
    files = sorted(path.name for path in (folder / "figures").iterdir())
    assert sorted(map(unquote, named)) == files
    assert {"iou.svg", "size_bias.svg", "effect_loss.svg"} <= set(files)
    for name in files:
        words = (folder / "figures" / name).read_text("utf-8")
        assert words.startswith("<?xml")
        assert name.startswith("effect") or "loss=sec" in words, "which setting is which, is said"


def test_foreign_text_is_escaped(folder: Path) -> None:
    text = (folder / "report.html").read_text("utf-8")
    assert "<b>title" not in text
    assert "<i>x" not in text
    assert text.count("<script>throw") == 0
    assert "The disk is &lt;full&gt; | *now*." in text
    assert r"The disk is \<full> \| \*now\*." in (folder / "report.md").read_text("utf-8")


def test_the_page_shows_the_commands_and_the_unfinished_runs(folder: Path) -> None:
    text = (folder / "report.html").read_text("utf-8")
    assert "python src/report.py &#39;title=&lt;i&gt;x&lt;/i&gt;&#39;" in text
    assert text.count("python src/train.py name=study") == 6
    assert "loss=seed_constrain,seed=0: " in text


def test_different_versions_of_the_code_are_reported(sweep: Sweep, tmp_path: Path) -> None:
    def versions(out: Path) -> bool:
        return "Different versions of the code" in (out / "report.html").read_text("utf-8")

    assert not versions(report(config(sweep.folder, tmp_path / "same", images=0), ""))
    runs = tmp_path / "runs"
    write_run(runs / "a", ("loss=seed",), sweep.truths)
    write_run(runs / "b", ("loss=sec",), sweep.truths)
    results = (runs / "b" / "results.json").read_text()
    (runs / "b" / "results.json").write_text(results.replace('"dirty": false', '"dirty": true'))
    assert versions(report(config(runs, tmp_path / "other", images=0), ""))
    assert "with changes (1 run)" in (tmp_path / "other" / "report.md").read_text("utf-8")


def test_warnings_of_the_runs_are_in_the_report(sweep: Sweep, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, words in (("a", ("loss=seed",)), ("b", ("loss=sec",))):
        write_run(tmp_path / "runs" / name, words, sweep.truths)
        path = tmp_path / "runs" / name / "results.json"
        own = ["cat: all of it", *([] if name == "a" else ["dog: <none>"])]
        path.write_text(json.dumps({**json.loads(path.read_text()), "warnings": own}))
    out = report(config(tmp_path / "runs", tmp_path / "out", images=0), "")
    for line in ("All 2 runs: cat: all of it", "loss=sec, seed 0: dog: &lt;none&gt;"):
        assert f'<p class="warning">{line}</p>' in (out / "report.html").read_text("utf-8")
    assert "loss=sec, seed 0: dog: \\<none>" in (out / "report.md").read_text("utf-8")
    assert caplog.messages == ["All 2 runs: cat: all of it", "loss=sec, seed 0: dog: <none>"]


@needs_chromium
def test_the_page_opens_without_an_error_or_a_request(page: Browser) -> None:
    assert page.errors == []
    assert page.requests == []
    assert texts(page, "h1") == [TITLE]
    assert all(page.run("[...document.images].map((image) => image.complete && image.naturalWidth > 0)"))


@needs_chromium
@pytest.mark.parametrize("column", [2, 4, 5])
def test_a_click_on_a_column_title_sorts_by_number_and_another_reverses_the_order(page: Browser, column: int) -> None:
    def values() -> list[float]:
        cells = texts(page, f"#settings ~ .scroll table tbody td:nth-child({column + 1})")[:3]
        return [0.0 if cell == "baseline" else float(cell.split()[0]) for cell in cells]

    head = f"document.querySelectorAll('th button')[{column}]"
    page.run(f"{head}.click()")
    assert page.run(f"{head}.parentElement.getAttribute('aria-sort')") == "descending"
    assert values() == sorted(values(), reverse=True)
    page.run(f"{head}.click()")
    assert values() == sorted(values())
    assert texts(page, "[aria-sort=ascending]") == [page.run(f"{head}.textContent")]


@needs_chromium
def test_the_keyboard_alone_sorts(page: Browser) -> None:
    page.run("document.querySelectorAll('th button')[0].focus()")
    page.press("Enter")
    assert page.run("document.activeElement.parentElement.getAttribute('aria-sort')") == "ascending"
    page.press("Tab")
    page.press("Enter")
    assert page.run("document.querySelectorAll('thead th')[1].getAttribute('aria-sort')") == "descending"


@needs_chromium
def test_arrow_keys_buttons_and_the_list_change_the_picture(page: Browser) -> None:
    names = texts(page, "#image option")
    assert len(names) == 4

    def shown() -> tuple[str, str]:
        return page.run("document.getElementById('image').value"), page.run("document.querySelector('#tiles img').src")

    first = shown()
    page.press("ArrowRight")
    second = shown()
    assert [first[0], second[0]] == names[:2]
    assert first[1] != second[1]
    page.press("ArrowLeft")
    assert shown() == first
    page.press("ArrowLeft")
    assert shown() == first  # there is nothing before it
    page.run("document.getElementById('next').click()")
    assert shown() == second
    choose(page, "image", names[3])
    assert shown()[0] == names[3]
    assert page.run("document.getElementById('next').disabled")
    assert page.run("document.getElementById('place').textContent") == "4 of 4"


@needs_chromium
def test_choosing_a_class_leaves_the_images_with_it(page: Browser, sweep: Sweep) -> None:
    shown = texts(page, "#image option")
    number = page.run("document.querySelector('#class option:last-child').value")
    choose(page, "class", number)
    assert texts(page, "#image option") == [name for name in shown if (sweep.truths[name] == int(number)).any()]
    choose(page, "class", "")
    assert texts(page, "#image option") == shown


@needs_chromium
def test_the_crf_can_be_switched_off(page: Browser) -> None:
    with_crf = last_mask(page)
    page.run("document.getElementById('crf').click()")
    assert last_mask(page) != with_crf
    page.run("document.getElementById('crf').click()")
    assert last_mask(page) == with_crf


@needs_chromium
@pytest.mark.parametrize("order", ["differs", "worst"])
def test_images_are_ordered_by_disagreement_or_the_worst_iou_of_the_chosen_class(
    page: Browser, sweep: Sweep, order: str
) -> None:
    names = texts(page, "#image option")
    choose(page, "first", "1")  # loss=seed
    choose(page, "second", "2")  # loss=seed_expand
    choose(page, "order", order)
    masks = [sweep.predicted[f"loss={loss},seed=0"]["with_crf"] for loss in ("seed", "seed_expand")]
    share = {name: float((masks[0][name] != masks[1][name]).mean()) for name in names}
    listed = texts(page, "#image option")
    numbers = [float(re.findall(r"\((.+) %\)", text)[0]) for text in listed]
    assert numbers == sorted(numbers, reverse=order == "differs")
    if order == "differs":
        assert numbers == pytest.approx(sorted((100 * value for value in share.values()), reverse=True), abs=0.06)


@needs_chromium
def test_nothing_is_wider_than_a_narrow_screen(browser: Browser, folder: Path) -> None:
    browser.open(folder / "report.html", width=360)
    browser.run("document.querySelectorAll('details').forEach((details) => { details.open = true })")
    assert browser.run("document.documentElement.scrollWidth") <= 360


@needs_chromium
def test_a_page_without_images_or_without_a_gallery_works(browser: Browser, sweep: Sweep, tmp_path: Path) -> None:
    words = ("data=voc12aug", f"data.root={tmp_path}/gone")
    write_run(tmp_path / "runs" / "a", words, sweep.truths)
    for images in (0, 3):
        out = report(config(tmp_path / "runs", tmp_path / str(images), images=images), "")
        browser.open(out / "report.html")
        assert browser.errors == []
        captions = texts(browser, "#tiles figcaption")
        assert [text.partition(":")[0] for text in captions] == (["all runs"] if images else [])
