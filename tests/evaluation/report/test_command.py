"""The command, on a real training, and its messages."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from secseg.cli import report, train
from secseg.evaluation.predictions import read_predicted
from secseg.evaluation.report.runs import Run, find_runs
from tests.command import run_in_process
from tests.evaluation.report.conftest import Sweep

TRAINING = [
    *("backbone=timm", "backbone.trunk.model=test_efficientnet", "backbone.trunk.weights=null"),
    *("backbone.head.width=16", "backbone.head.dilation=2", "backbone.input_size=65", "loss=seed"),
    *("data.draw_train=2", "data.draw_val=3", "data.batch_size=1", "data.workers=0", "data.feature_cache=off"),
    *("trainer.max_steps=1", "trainer.val_check_interval=1", "trainer.accelerator=cpu", "evaluation.pictures=0"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    base = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        words = [*TRAINING, f"hydra.run.dir={base}/runs/one", f"data.root={base}/shapes"]
        patch.setattr(sys, "argv", ["src/train.py", *words])
        train.main()
    (run,), _ = find_runs(str(base / "runs"))
    return run


def test_a_training_writes_counts_and_masks_of_each_image_its_command_and_its_options(trained: Run) -> None:
    run = trained
    assert run.counts.names == ("val_00000", "val_00001", "val_00002")
    for variant in ("without_crf", "with_crf"):
        counts = run.counts.total(variant)
        hits, union = np.diag(counts), counts.sum(0) + counts.sum(1) - np.diag(counts)
        score = run.scores(variant)
        assert score is not None
        for at, class_name in enumerate(run.counts.class_names):
            assert score["iou"][class_name] == (pytest.approx(hits[at] / union[at]) if union[at] else None)
        masks = read_predicted(run.folder, variant, run.counts.names)
        assert list(masks) == list(run.counts.names)
    command = (run.folder / "command.txt").read_text()
    assert command.startswith("python src/train.py backbone=timm ")
    assert "trainer.max_steps=1" in command
    assert run.options["loss"] == "seed"
    assert {"data": "shapes", "backbone": "timm"}.items() <= run.options.items()


def test_out_sets_the_folder_of_a_report_and_it_shows_the_commands(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = trained.folder.parent
    out = tmp_path / "out"
    outcome = run_in_process(report.main, [f"runs={runs}", f"out={out}"], tmp_path / "run", monkeypatch, capsys)
    assert outcome.code == 0, outcome.error
    *_, title, head, row, page, last = outcome.output.splitlines()
    assert (page, last) == (f"page: {out}/report.html", f"run: {out}")
    assert title.startswith("Mean IoU, %, and difference to the baseline")
    assert head.startswith("setting ")
    assert row.startswith("all runs ")
    assert "baseline" in row
    assert not (tmp_path / "run").exists()
    page = (out / "report.html").read_text("utf-8")
    assert f"python src/report.py runs={runs} out={out}" in page
    assert "python src/train.py backbone=timm" in page
    assert "data:image/jpeg" in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["runs=nowhere"], "runs=nowhere: there is nothing"),
        ([], "runs has no value: give runs=<value>."),
        (["runs=nowhere", "images=-1"], "images=-1: give a whole number of at least 0."),
        (["baseline=sec"], "baseline=sec: no such setting. Did you mean 'loss=sec'"),
    ],
)
def test_an_error_is_one_message(
    words: list[str],
    message: str,
    sweep: Sweep,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = [f"runs={sweep.folder}"] if words and "runs" not in words[0] else []
    outcome = run_in_process(report.main, [*runs, *words], tmp_path / "run", monkeypatch, capsys)
    assert outcome.code == 1
    assert message in outcome.error
    assert not (tmp_path / "run").exists()
