"""A locale that is not UTF-8 changes no file, and no character ends a run."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from secseg.cli.encoding import print_anything
from secseg.runs.run_reader import read_metrics
from tests.cli.test_cli import TRAIN, run
from tests.folder_data import draw_images, draw_mask
from tests.training.tiny_run import TINY as SMALL

NAME = "Kätzchen"
TINY = [word for word in SMALL if not word.startswith("data.draw")]
SETTINGS = ["data=folder", "data.val_share=0.5", "data.masks=dataset", "crf=off", "loss=supervised"]
ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
"""The locale's encoding is ASCII, and the user does not want Python's UTF-8 mode."""


@pytest.fixture(scope="module")
def latin1(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables of a German locale in ISO-8859-1, made for this test."""
    folder = tmp_path_factory.mktemp("locales")
    try:
        made = ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(folder / "de_DE.ISO-8859-1")]
        subprocess.run(made, capture_output=True, check=False)
    except FileNotFoundError:
        pass
    if not (folder / "de_DE.ISO-8859-1" / "LC_CTYPE").exists():  # without the sources, localedef leaves an empty folder
        pytest.skip("needs localedef and the sources of the locales (on Debian, the package locales)")
    return {"LOCPATH": str(folder), "LC_ALL": "de_DE.ISO-8859-1"}


def draw(root: Path, file: str) -> list[str]:
    """Draw four images of a class whose name is not ASCII; return the settings that train on their masks."""
    names = [f"{file}{number}" for number in range(4)]
    draw_images(root / "images", [f"{name}.jpg" for name in names])
    (root / "masks").mkdir()
    for name in names:
        draw_mask(root / "masks" / f"{name}.png", 1)
    (root / "labels.csv").write_text("image,labels\n" + "".join(f"{name}.jpg,{NAME}\n" for name in names), "utf-8")
    return [*TINY, *SETTINGS, f"data.root={root}"]


def test_in_a_latin_1_locale_a_run_reads_and_writes_utf_8(tmp_path: Path, latin1: dict[str, str]) -> None:
    words = draw(tmp_path, "Kätzchen ")
    ended = run(TRAIN, tmp_path, *words, "run_dir=Läufe", **latin1, PYTHONIOENCODING="utf-8")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    folder = tmp_path / "Läufe"
    assert json.loads((folder / "results.json").read_text("utf-8"))["protocol"]["scored"] == ["background", NAME]
    assert any(f"val/iou/{NAME}" in row for row in read_metrics(folder / "metrics.csv"))
    assert "'run_dir=\"Läufe\"'" in (folder / "command.txt").read_text("utf-8")


def test_in_a_latin_1_locale_the_terminal_keeps_its_encoding(tmp_path: Path, latin1: dict[str, str]) -> None:
    command = [sys.executable, str(TRAIN), "data=folder", f"logger.csv.note={NAME}"]  # named in the message
    ended = subprocess.run(command, env={**latin1, "PATH": ""}, capture_output=True, check=False)
    assert ended.returncode == 1
    assert NAME.encode("latin-1") in ended.stderr, ended.stderr


def test_in_an_ascii_locale_metrics_are_utf_8_and_every_line_is_printed(tmp_path: Path) -> None:
    ended = run(TRAIN, tmp_path, *draw(tmp_path, "a"), "run_dir=run", **ASCII)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "K\\xe4tzchen" in ended.stdout
    assert any(f"val/iou/{NAME}" in row for row in read_metrics(tmp_path / "run" / "metrics.csv"))


def test_characters_that_the_output_lacks_are_printed_as_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="latin-1"))
    print_anything()
    print(f"{NAME} 猫 \udcff", flush=True)
    assert printed.getvalue() == b"K\xe4tzchen \\u732b \\udcff\n"
