"""Class names in any script are drawn with a font that has them, or reported once."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.font_manager import FontProperties
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from secseg.drawing import fonts
from secseg.drawing.html import svg
from secseg.drawing.panels import panel, save_figure
from tests.drawing.test_panels import PALETTE, item

CHINESE = "猫"


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_reported", set())
    fonts.find_fonts.cache_clear()


@pytest.fixture
def only_matplotlibs_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the fonts of this machine, and leave those that come with Matplotlib, which have no Chinese."""
    own = [entry for entry in font_manager.fontManager.ttflist if "mpl-data" in entry.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [])


def families(name: str, tmp_path: Path) -> list[str]:
    """Return the font families of a class name, after a panel with it was saved."""
    figure = panel([item()], ("background", name, "bicycle"), PALETTE)
    save_figure(figure, tmp_path / "panel.png")
    (text,) = (text for text in figure.findobj(Text) if text.get_text() == name)
    return text.get_fontfamily()


def test_a_font_that_has_the_characters_is_chosen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, only_matplotlibs_fonts: None
) -> None:
    files = [font_manager.findfont(FontProperties(family=[name])) for name in ("STIXGeneral", "sans-serif")]
    stix, usual = (set(FT2Font(file).get_charmap()) for file in files)
    only_there = chr(min(stix - usual))
    assert families(f"cat{only_there}", tmp_path)[0] == "sans-serif"
    assert len(families(f"cat{only_there}", tmp_path)) == 2
    assert not caplog.records


def test_characters_without_a_font_are_reported_once_with_the_names_and_what_to_install(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, only_matplotlibs_fonts: None
) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert families(f"{CHINESE} cat", tmp_path) == ["sans-serif"]
    (record,) = caplog.records
    assert f"boxes: {CHINESE} cat. Install a font" in record.getMessage()
    assert "fonts-noto-cjk" in record.getMessage()


def test_a_figure_without_such_names_is_drawn_once(tmp_path: Path) -> None:
    figure = panel([item()], ("background", "Kätzchen", "кот"), PALETTE)
    drawn: list[int] = []
    fonts.save_in_any_script(figure, lambda: drawn.append(figure.savefig(io.BytesIO())))  # type: ignore[func-returns-value]
    assert len(drawn) == 1


def test_an_svg_leaves_the_font_to_the_viewer_and_reports_nothing(
    caplog: pytest.LogCaptureFixture, only_matplotlibs_fonts: None
) -> None:
    drawn = svg(panel([item()], ("background", CHINESE, "bicycle"), PALETTE)).decode()
    assert f">{CHINESE}</text>" in drawn
    assert drawn.count("<svg ") == 1
    assert not caplog.records


def test_other_warnings_of_a_drawing_are_passed_on() -> None:
    figure = panel([item()], ("background", "cat", "bicycle"), PALETTE)
    with pytest.warns(RuntimeWarning, match="divide"):
        fonts.save_in_any_script(figure, lambda: np.divide(1, np.zeros(1)))
