"""Means, spreads, differences and size bias against plain NumPy and the bootstrap."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from secseg.evaluation.bootstrap import bootstrap_difference
from secseg.evaluation.report.runs import find_runs
from secseg.evaluation.report.statistics import Row, Spread, best, study_rows
from secseg.evaluation.report.study import open_study
from tests.evaluation.report.conftest import Sweep
from tests.evaluation.report.synthetic import write_run


def rows_of(sweep: Sweep) -> dict[str, Row]:
    rows = study_rows(open_study(find_runs(str(sweep.folder))[0]))
    return {row.setting.values["loss"]: row for row in rows}


def confusion(truth: np.ndarray, mask: np.ndarray, classes: int = 8) -> np.ndarray:
    known = truth != 255
    return np.bincount(truth[known] * classes + mask[known].astype(int), minlength=classes**2).reshape(classes, classes)


def counts_of(sweep: Sweep, loss: str, variant: str) -> np.ndarray:
    """(runs, images, C, C)."""
    return np.array(
        [
            [confusion(sweep.truths[name].astype(int), sweep.predicted[f"loss={loss},seed={seed}"][variant][name])
             for name in sorted(sweep.truths)]
            for seed in (0, 1)
        ]
    )  # fmt: skip


@pytest.mark.parametrize("variant", ["without_crf", "with_crf"])
def test_means_and_spreads_are_those_of_the_pooled_counts(sweep: Sweep, variant: str) -> None:
    for loss, row in rows_of(sweep).items():
        runs = counts_of(sweep, loss, variant).sum(1)
        with np.errstate(invalid="ignore"):
            iou = np.array([np.diag(one) / (one.sum(0) + one.sum(1) - np.diag(one)) for one in runs])
        miou = np.nanmean(iou, axis=1)
        assert row.miou[variant].mean == pytest.approx(miou.mean())
        assert row.miou[variant].deviation == pytest.approx(miou.std(ddof=1))
        assert row.iou[variant]["background"].values == pytest.approx(iou[:, 0])
        bias = runs.sum(1)[:, 0] / runs.sum(2)[:, 0]
        assert row.bias[variant]["background"].values == pytest.approx(bias)


def test_differences_are_those_of_the_bootstrap_and_the_baseline_has_none(sweep: Sweep) -> None:
    rows = rows_of(sweep)
    assert not rows["sec"].difference
    first, second = (
        [csr_array(run.reshape(len(run), 64)) for run in counts_of(sweep, loss, "with_crf")] for loss in ("sec", "seed")
    )
    expected = bootstrap_difference(first, second, list(range(8)))
    assert rows["seed"].difference["with_crf"] == pytest.approx(expected)
    assert expected.high < 0
    means = [rows[loss].miou["with_crf"].mean for loss in ("seed", "sec")]
    assert rows["seed"].difference["with_crf"].difference == pytest.approx(means[0] - means[1])


def test_one_seed_has_no_spread() -> None:
    assert Spread((0.5,)).deviation is None


def test_the_best_row_is_that_of_the_highest_mean(sweep: Sweep) -> None:
    rows = rows_of(sweep)
    assert best(list(rows.values()), "with_crf") is rows["sec"]
    assert best([], "with_crf") is None


def test_what_a_run_lacks_is_left_out(sweep: Sweep, tmp_path: Path) -> None:
    """No counts: no difference and no bias. No CRF: no figures of that variant. A class without pixels: no IoU."""
    write_run(tmp_path / "a", ("loss=seed",), sweep.truths)
    write_run(tmp_path / "b", ("loss=sec",), sweep.truths, wrong=0.8)
    (tmp_path / "b" / "val_counts.npz").unlink()
    results = json.loads((tmp_path / "b" / "results.json").read_text())
    results["figures"]["with_crf"] = None
    results["figures"]["without_crf"]["iou"]["bird"] = None
    (tmp_path / "b" / "results.json").write_text(json.dumps(results))
    study = open_study(find_runs(str(tmp_path))[0])
    assert study.main_variant() == "without_crf"
    by_loss = {row.setting.values["loss"]: row for row in study_rows(study)}
    assert set(by_loss["sec"].miou) == {"without_crf"}
    assert "bird" not in by_loss["sec"].iou["without_crf"]
    assert not by_loss["sec"].difference
    assert not by_loss["sec"].bias
    assert by_loss["seed"].bias
