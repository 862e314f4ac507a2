"""Finding finished runs, and the reasons of unfinished ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from secseg.evaluation.predictions import read_counts, read_predicted
from secseg.evaluation.report.runs import find_runs
from secseg.runs.run_reader import curve
from secseg.utils.errors import UserError
from tests.evaluation.report.conftest import Sweep
from tests.evaluation.report.synthetic import write_run


def names(patterns: str | list[str]) -> list[str]:
    return [run.folder.name for run in find_runs(patterns)[0]]


def test_a_run_a_study_a_folder_of_studies_and_a_glob_give_their_runs(sweep: Sweep) -> None:
    every = sorted(sweep.predicted)
    assert names(str(sweep.folder)) == names(str(sweep.folder.parent)) == every
    assert names(str(sweep.folder / every[0])) == every[:1]
    assert names(f"{sweep.folder}/*seed=1") == [name for name in every if name.endswith("seed=1")]


def test_a_run_given_twice_or_through_a_link_is_one_run(sweep: Sweep, tmp_path: Path) -> None:
    run = sweep.folder / "loss=sec,seed=0"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "link").symlink_to(run, target_is_directory=True)
    assert names([str(tmp_path / "other")]) == ["link"]
    assert len(names([str(run), str(tmp_path / "other"), str(run)])) == 1


def test_runs_that_are_not_finished_are_left_out_with_their_reason(sweep: Sweep, tmp_path: Path) -> None:
    (tmp_path / "started").mkdir()
    (tmp_path / "started" / "config.yaml").write_text("seed: 0\n")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "failure.json").write_text("{")
    runs, left_out = find_runs([str(sweep.folder), str(tmp_path)])
    assert len(runs) == 6
    assert {path.name: why for path, why in left_out.items()} == {
        "loss=seed_constrain,seed=0": "The disk is <full> | *now*.",
        "started": "not finished",
        "torn": "failure.json cannot be read",
    }


def test_without_a_finished_run_the_error_gives_the_reasons(tmp_path: Path) -> None:
    (tmp_path / "started").mkdir()
    (tmp_path / "started" / "config.yaml").write_text("seed: 0\n")
    with pytest.raises(UserError, match=r"no finished training run.*\n.*started: not finished"):
        find_runs(str(tmp_path))
    with pytest.raises(UserError, match=r"runs=.*nowhere: there is nothing"):
        find_runs(str(tmp_path / "nowhere"))


def test_runs_of_other_commands_and_hidden_folders_are_skipped(truths: dict[str, np.ndarray], tmp_path: Path) -> None:
    write_run(tmp_path / "train", (), truths)
    write_run(tmp_path / ".trash" / "run", (), truths)
    write_run(tmp_path / "evaluate", (), truths)
    results = json.loads((tmp_path / "evaluate" / "results.json").read_text())
    del results["losses"]  # only a training has them
    (tmp_path / "evaluate" / "results.json").write_text(json.dumps(results))
    assert names(str(tmp_path)) == ["train"]


@pytest.mark.parametrize(("file", "text"), [("results.json", "{"), ("config.yaml", "a: ["), ("config.yaml", "")])
def test_a_damaged_file_is_named(file: str, text: str, truths: dict[str, np.ndarray], tmp_path: Path) -> None:
    write_run(tmp_path / "run", (), truths)
    (tmp_path / "run" / file).write_text(text)
    with pytest.raises(UserError, match=rf"{file} cannot be read .*leave its run out"):
        find_runs(str(tmp_path))


@pytest.mark.parametrize(
    ("file", "read"),
    [("val_counts.npz", read_counts), ("val_masks.zip", lambda run: read_predicted(run, "with_crf", ["val_00000"]))],
)
@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:-50], lambda data: data[:99] + data[119:]])
def test_damaged_predictions_are_named(
    file: str,
    read: Callable[[Path], object],
    damage: Callable[[bytes], bytes],
    truths: dict[str, np.ndarray],
    tmp_path: Path,
) -> None:
    write_run(tmp_path / "run", (), truths)
    path = tmp_path / "run" / file
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=rf"{file} is damaged"):
        read(tmp_path / "run")


def test_counts_masks_and_curves_are_those_of_the_run(sweep: Sweep) -> None:
    (run,), _ = find_runs(str(sweep.folder / "loss=sec,seed=1"))
    assert run.seed == 1
    name = list(sweep.truths)[2]
    mask, truth = sweep.predicted["loss=sec,seed=1"]["with_crf"][name], sweep.truths[name]
    assert np.array_equal(read_predicted(run.folder, "with_crf", [name, "other"])[name], mask)
    counts = run.counts.image("with_crf", name)
    for true, predicted in ((0, 0), (int(truth[truth < 255].max()), 0)):
        assert counts[true, predicted] == ((truth == true) & (mask == predicted)).sum()
    steps, values = curve(run.metrics, "val/miou")
    assert steps.tolist() == list(range(0, 100, 10))
    assert values[-1] == 0.9
    assert len(curve(run.metrics, "train/none")[0]) == 0
