"""``src/make_cues.py`` audits and exports any cue file, and refuses settings and folders that do not fit."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from secseg.cli.make_cues import main
from secseg.data.classes import voc_palette
from secseg.data.cues import import_official, open_cues
from secseg.data.masks import save_mask
from tests.command import run_in_process
from tests.cue_making.toy import CLASSES
from tests.cue_making.toy_cues import COUNT, Make, ran, snapshot


def test_a_cue_file_is_audited_without_its_images(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = root / "cues.safetensors"
    words = ["stage=audit", f"cue_file={own}", f"against={own}", "~data"]
    outcome = run_in_process(main, words, tmp_path / "alone", monkeypatch, capsys)
    assert outcome.code == 0, outcome.error
    assert outcome.results is not None
    figures = outcome.results["figures"]["audit"]
    assert figures["images"] == COUNT
    assert set(figures["classes"]) == set(CLASSES), "as the file names them"
    assert figures["against"]["identical"] == COUNT
    refused = run_in_process(main, ["~data"], tmp_path / "all", monkeypatch, capsys)
    assert "data has no option chosen" in refused.error


def test_cues_are_exported_and_any_file_is_audited(make: Make, root: Path) -> None:
    outcome = make("export=official", "stage=export")
    assert ran(outcome) == ["export"]
    assert "brought to 41 x 41" in outcome.output
    (official,) = (root / "export").iterdir()
    assert len(import_official(official / "localization_cues.pickle.gz", official / "input_list.txt")) == COUNT
    assert ran(make("cues=official", "export=png")) == ["audit", "export"]
    (pngs,) = (root / "export").glob("png-*")
    assert len(open_cues(pngs)) == COUNT
    edited = next(pngs.glob("*.png"))
    save_mask(np.zeros((9, 9), np.uint8), edited, voc_palette())
    content = edited.read_bytes()
    assert ran(make("export=png", "stage=export")) == ["export"]
    assert edited.read_bytes() == content, "an exported file that was edited is kept"
    own = root / "cues.safetensors"
    outcome = make("stage=audit", f"cue_file={own}", f"against={own}")
    assert ran(outcome) == ["audit"]
    assert outcome.results is not None
    assert outcome.results["figures"]["audit"]["against"]["identical"] == COUNT
    assert "Train on them" not in outcome.output
    assert ran(make("stage=audit")) == ["audit"], "of the cues in out"


@pytest.mark.parametrize("content", [b"mine", None], ids=["another file", "edited cues"])
def test_cues_of_someone_else_are_not_overwritten(make: Make, root: Path, content: bytes | None) -> None:
    path = root / "cues.safetensors"
    path.write_bytes(content or path.read_bytes() + b" ")
    before = snapshot(root)
    outcome = make("cues=official", "localization.foreground.steps=4")
    assert outcome.code == 1
    assert "cues.safetensors was not written by make_cues into this folder, or was changed since" in outcome.error
    assert snapshot(root) == before, "reported before anything is computed"


def test_a_folder_of_someone_else_is_not_written_into(make: Make, root: Path) -> None:
    shutil.rmtree(root / "audit")
    (root / "audit").mkdir()
    (root / "audit" / "images.csv").write_text("mine")
    outcome = make("cues=official")
    assert outcome.code == 1
    assert "audit holds files, but no audit of cues" in outcome.error
    assert [path.name for path in (root / "audit").iterdir()] == ["images.csv"]


def test_an_output_folder_among_the_images_is_refused(make: Make, root: Path) -> None:
    outcome = make("cues=official", out=root / "images")
    assert outcome.code == 1
    assert "lies among the images" in outcome.error


def test_all_wrong_settings_are_listed_before_anything_is_computed(make: Make, root: Path) -> None:
    words = ("stage=map", "export=npz", "cues.share=1", "cues.scales=[20]", "cues.grid=1", "workers=0", "against=none")
    outcome = make(*words, "crf=off", "localization.foreground.steps=0", "precision=64", out=root / "new")
    assert outcome.code == 1
    for text in (
        *("stage=map: give one of", "export=npz: give one of official, png", "cues.share=1"),
        *("cues.scales=[20]", "cues.grid=1", "workers=0", "against=none: the file does not exist"),
        *("localization.foreground.steps=0", "precision=64"),
    ):
        assert text in outcome.error, text
    assert not (root / "new").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["localization.background.running_maximum=2"], "running_maximum=2: only the maps of the foreground network"),
        (["stage=export"], "give export=<one of official, png, irn_cam"),
        (["cue_file=."], "cue_file is for stage=audit and stage=export"),
        (["crf=off", "cues=refined"], "This cue recipe needs a CRF"),
        (["stage=audit", "out=nothing_yet"], "The cue file nothing_yet/cues.safetensors does not exist"),
        (
            ["stage=audit", "cue_file=nowhere.safetensors"],
            "cue_file=nowhere.safetensors: there is no cue file",
        ),
        (
            ["localization.foreground.network.head._target_=secseg.cue_making.heads.FullyConnectedHead"],
            "a FullyConnectedHead has no class activation maps",
        ),
        (["device=cuda:9"], "device=cuda:9: this machine has"),
        (["localization.background.balance=even"], "balance=even: give one of none, inverse"),
        (
            ["localization.background.network.trunk.model=null", "out=new"],
            "localization.background.network.trunk.model",
        ),
    ],
)
def test_settings_that_do_not_fit_end_in_one_message(make: Make, words: list[str], said: str) -> None:
    outcome = make(*(["cues=official"] if "cues=refined" not in words else []), *words)
    assert outcome.code == 1
    assert said in outcome.error
    assert "Traceback" not in outcome.error
