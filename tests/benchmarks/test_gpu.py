"""``make gpu`` runs its small form on a CPU, compares what it says it compares, and reports parts that fail."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.gpu import __main__ as program
from benchmarks.gpu import processes
from benchmarks.gpu.equality import labels_row
from benchmarks.gpu.scoring import compare
from benchmarks.gpu.setup import Setup
from benchmarks.gpu.table import NotMeasured, Row, at_most, describe
from benchmarks.gpu.trainings import Trained, same
from secseg.evaluation import SegmentationScore
from tests.conftest import REPOSITORY

HAVE_AN_EXPECTATION = set(program.PARTS) - {"training CRF", "step"}


def rows_of(text: str) -> list[list[str]]:
    """Return the cells of the second table of a text, the one of the figures, without its head."""
    lines = text[text.index("| part") :].splitlines()
    cells = [re.split(r" *(?<!\\)\| *", line)[1:-1] for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in cells[2:]]


@pytest.fixture(scope="module")
def small_form(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[list[str]]]:
    """Return what the program prints where there is no GPU, and the rows of the table that it writes."""
    out = tmp_path_factory.mktemp("gpu") / "table.md"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--minutes", "60", "--out", str(out)],
        cwd=REPOSITORY,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(REPOSITORY / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout, rows_of(out.read_text("utf-8"))


def test_without_a_gpu_the_program_says_that_it_runs_the_small_form(small_form: tuple[str, list[list[str]]]) -> None:
    assert small_form[0].startswith("No GPU found: the small form runs on the CPU.")


@pytest.mark.parametrize("part", program.PARTS)
def test_each_part_has_figures_and_meets_what_is_expected(small_form: tuple[str, list[list[str]]], part: str) -> None:
    rows = [row for row in small_form[1] if row[0] == part]
    assert any("not measured" not in figure for _, _, figure, _, _ in rows)
    expected = [row for row in rows if row[3]]
    assert all(row[4] == "yes" for row in expected), expected
    assert bool(expected) == (part in HAVE_AN_EXPECTATION)


def test_the_printed_table_is_the_written_one(small_form: tuple[str, list[list[str]]]) -> None:
    assert rows_of(small_form[0].rpartition("The table is in")[0]) == small_form[1]


def run(
    parts: dict[str, program.Part], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *words: str
) -> tuple[object, list[list[str]]]:
    """Run the program with other parts. Return its exit status, and the rows of its table."""
    out = tmp_path / "table.md"
    monkeypatch.setattr(program, "PARTS", parts)
    monkeypatch.setattr(sys, "argv", ["gpu", "--small", "--device", "cpu", "--out", str(out), *words])
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    status: object = 0
    try:
        program.main()
    except SystemExit as stop:
        status = stop.code
    return status, rows_of(out.read_text("utf-8"))


def fine(setup: Setup) -> Iterator[Row]:
    yield at_most("fine", 0.1, 1.0)


def broken(setup: Setup) -> Iterator[Row]:
    yield Row("before", "1 ms")
    raise ValueError("wrong | on\ntwo lines")


def absent(setup: Setup) -> Iterator[Row]:
    raise NotMeasured("no gloo")
    yield


def test_a_part_that_fails_is_reported_and_the_others_still_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, rows = run({"broken": broken, "absent": absent, "fine": fine}, monkeypatch, tmp_path)
    assert rows == [
        ["broken", "before", "1 ms", "", ""],
        ["broken", "error", "ValueError: wrong \\| on two lines", "no error", "**no**"],
        ["absent", "all", "not measured: no gloo", "", ""],
        ["fine", "fine", "1.0e-01", "at most 1e+00", "yes"],
    ]
    assert status == "Not as expected:\n  broken: error"  # SystemExit prints a text and exits with 1


def test_parts_that_do_not_apply_are_no_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run({"absent": absent, "fine": fine}, monkeypatch, tmp_path)[0] == 0


def test_a_figure_that_is_not_as_expected_ends_with_exit_1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    status, rows = run({"far": lambda _: iter([at_most("x", 0.2, 0.1)])}, monkeypatch, tmp_path)
    assert rows[0][4] == "**no**"
    assert status == "Not as expected:\n  far: x"


def test_parts_that_are_left_after_the_time_are_not_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    status, rows = run({"fine": fine, "broken": broken}, monkeypatch, tmp_path, "--minutes", "0")
    assert [row[2] for row in rows] == ["not measured: time (--minutes)"] * 2
    assert status == 0


def test_the_head_names_the_gpu_its_memory_and_what_float32_means(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = SimpleNamespace(name="Some GPU", total_memory=8_000_000_000, major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: gpu)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setenv("PATH", "")  # without nvidia-smi
    head = describe(torch.device("cuda"))
    assert head["device"] == "Some GPU, 8.00 GB, compute capability 9.0"
    assert head["driver"].startswith("version not known, ")
    assert head["float32 means"].startswith("TF32 in convolutions, float32 in matrix products")


@pytest.mark.parametrize(
    ("script", "error", "text"),
    [
        ("echo CUDA error: all devices are busy or unavailable; exit 1", NotMeasured, "one process only"),
        ("echo no such device; exit 3", RuntimeError, "exit code 3: ... no such device"),
        ('test "$RANK" = 1 && exit 3; exec sleep 600', RuntimeError, "exit code 3"),
    ],
    ids=["exclusive", "failure", "one of both"],
)
def test_two_processes_that_fail_are_reported_and_none_is_left(
    script: str, error: type[Exception], text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(error, match=text):
        processes.start_two([], tmp_path)


def test_labels_that_differ_in_more_than_a_thousandth_are_not_as_expected() -> None:
    reference = torch.stack([torch.ones(40, 50), torch.zeros(40, 50)])[None]
    few, many = reference.clone(), reference.clone()
    few[0, :, 0, :1] = few[0, :, 0, :1].flip(0)
    many[0, :, 0, :3] = many[0, :, 0, :3].flip(0)
    assert labels_row("", few, reference).ok
    assert not labels_row("", many, reference).ok


def test_one_bit_of_one_weight_is_a_difference() -> None:
    weights = {"a": torch.ones(3), "b": torch.ones(2)}
    moved = {**weights, "b": torch.tensor([1.0, 1.0 + 2**-23])}
    first, second = (Trained(one, {}, 0.0) for one in (weights, moved))
    assert same("", first, first).ok
    row = same("", first, second)
    assert not row.ok
    assert row.figure.startswith("1 of 2 tensors differ")


def test_masks_that_differ_are_not_as_expected_even_with_the_same_mean_iou() -> None:
    first, second = (SegmentationScore(("background", "cat")) for _ in range(2))
    truth = np.array([[0, 1], [0, 1]], dtype=np.uint8)
    first.update(np.array([[0, 1], [0, 0]], dtype=np.uint8), truth)
    second.update(np.array([[1, 1], [0, 1]], dtype=np.uint8), truth)
    assert first.compute()["miou"] == second.compute()["miou"]
    assert compare("", first, first).ok
    assert not compare("", first, second).ok
