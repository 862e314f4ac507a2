"""A study of three losses and two seeds, and one run of it that failed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.report.synthetic import draw, write_run

ERRORS = {"seed": 0.6, "seed_expand": 0.4, "sec": 0.2}


@dataclass(frozen=True)
class Sweep:
    """Folders of the runs and their data, the validation masks, and the predictions by folder name."""

    folder: Path
    data: Path
    truths: dict[str, np.ndarray]
    predicted: dict[str, dict[str, dict[str, np.ndarray]]]


@pytest.fixture(scope="session")
def truths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    return draw(tmp_path_factory.mktemp("shapes") / "shapes")


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    base = tmp_path_factory.mktemp("report")
    data, folder = base / "shapes", base / "runs" / "study"
    truths = draw(data)
    words = ("name=study", f"data.root={data}", "data.draw_train=1", f"data.draw_val={len(truths)}")
    predicted = {}
    for loss, wrong in ERRORS.items():
        for seed in (0, 1):
            run = folder / f"loss={loss},seed={seed}"
            predicted[run.name] = write_run(run, (*words, f"loss={loss}"), truths, wrong, seed)
    failed = folder / "loss=seed_constrain,seed=0"
    failed.mkdir()
    (failed / "failure.json").write_text(json.dumps({"reason": "The disk is <full> | *now*.", "traceback": None}))
    return Sweep(folder, data, truths, predicted)
