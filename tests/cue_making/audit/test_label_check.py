"""The audit reports where the labels of a cue file and other labels differ: in figures, page and one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from secseg.cli import make_cues
from secseg.cue_making.audit.label_check import compare_labels, label_line, label_table
from secseg.cue_making.audit.measure import count_cues
from secseg.data.cues import Cues, CueStore
from secseg.data.labels import FoundLabels, Labels
from tests.inference.conftest import voc_layout

CLASSES = ("background", "cat", "dog", "person")
OWN: Labels = {"a": (1,), "b": (1, 2), "c": (), "d": (3,)}


def store(labels: Labels) -> CueStore:
    empty = np.full((3, 3), 255, np.uint8)
    return CueStore.from_dict({name: Cues(numbers, empty) for name, numbers in labels.items()}, {})


def test_images_are_counted_by_class_in_both_directions() -> None:
    truth = {"a": (1, 3), "b": (2,), "c": (3,), "d": (3,)}
    figures = compare_labels(count_cues(store(OWN), CLASSES), FoundLabels(truth, "labels.npy"))
    assert figures == {
        "source": "labels.npy",
        "images": 4,
        "lacking": 2,
        "extra": 1,
        "classes": {"cat": {"lacking": 0, "extra": 1}, "person": {"lacking": 2, "extra": 0}},
    }
    assert label_line(figures) == (
        "labels: against labels.npy, those of the cue file lack a class in 2 of 4 images (person 2), and have one too "
        "many in 1 (cat 1)."
    )
    rows = [line.split() for line in label_table(figures).splitlines()[-2:]]
    assert rows == [["person", "2", "0"], ["cat", "0", "1"]]


def test_equal_labels_are_one_line() -> None:
    figures = compare_labels(count_cues(store(OWN), CLASSES), FoundLabels(OWN, "labels.npy"))
    line = "labels: those of the cue file equal labels.npy in all 4 images."
    assert (figures["classes"], label_line(figures), label_table(figures)) == ({}, line, line)


def test_the_command_compares_with_data_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("2008_000001", "2008_000002")
    voc = voc_layout(tmp_path / "VOC2012", names)
    (voc / "train_aug.txt").write_text("\n".join(names))
    store({names[0]: (8,), names[1]: (8, 12)}).save(tmp_path / "cues.safetensors")
    (tmp_path / "labels.txt").write_text(f"{names[0]} 7 14\n{names[1]} 7 11\n2008_000003 0\n")  # COCO's form, from 0
    words = ["stage=audit", "cue_file=cues.safetensors", "data=voc12aug", f"data.root={voc}", "data.labels=labels.txt"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["make_cues.py", *words, "device=cpu", "hydra.run.dir=run"])
    make_cues.main()
    said = capsys.readouterr().out
    line = (
        "labels: against labels.txt (zero-based class numbers after the id), those of the cue file lack a class in 1 "
        "of 2 images (person 1), and have one too many in 0."
    )
    assert line in said.splitlines()
    figures = json.loads((tmp_path / "run" / "audit" / "audit.json").read_text())
    assert figures["label_differences"]["classes"] == {"person": {"lacking": 1, "extra": 0}}
    assert line.partition("(zero")[0] in (tmp_path / "run" / "audit" / "audit.html").read_text()
