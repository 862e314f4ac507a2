"""What was swept, which runs can be compared, and their figures against plain NumPy and the bootstrap."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from secseg.evaluation.bootstrap import bootstrap_difference
from secseg.evaluation.report.runs import find_runs
from secseg.evaluation.report.study import Row, Spread, Study, best, open_study, study_rows
from secseg.utils.errors import UserError
from tests.evaluation.report.conftest import Sweep
from tests.evaluation.report.synthetic import write_run


def study_of(folder: Path, baseline: str | None = None) -> Study:
    return open_study(find_runs(str(folder))[0], baseline)


def test_a_group_is_shown_by_its_option_and_seeds_are_grouped(sweep: Sweep) -> None:
    study = study_of(sweep.folder)
    assert study.swept == ("loss",)
    assert [setting.name for setting in study.settings] == ["loss=sec", "loss=seed", "loss=seed_expand"]
    assert [[run.seed for run in setting.runs] for setting in study.settings] == [[0, 1]] * 3
    assert study.main_variant() == "with_crf"


def test_numbers_are_in_order_and_a_key_that_follows_from_another_is_left_out(
    truths: dict[str, np.ndarray], tmp_path: Path
) -> None:
    for number, (pos, steps) in enumerate([("0.9", 8), ("0.1", 4), ("1", 8), ("0.5", 4)]):
        words = (f"decay.pos={pos}", f"trainer.max_steps={steps}", f"name=run{number}")
        write_run(tmp_path / str(number), words, truths)
    study = study_of(tmp_path)
    assert study.swept == ("decay.pos",)  # steps follow from it, a name is no setting
    assert [setting.values["decay.pos"] for setting in study.settings] == ["0.1", "0.5", "0.9", "1"]


def test_two_keys_make_a_setting_for_each_pair(truths: dict[str, np.ndarray], tmp_path: Path) -> None:
    for loss in ("seed", "sec"):
        for pos in (0.5, 0.9):
            write_run(tmp_path / f"{loss}{pos}", (f"loss={loss}", f"decay.pos={pos}"), truths)
    study = study_of(tmp_path, "loss=seed,decay.pos=0.5")
    assert study.swept == ("loss", "decay.pos")
    assert len(study.settings) == 4
    assert study.baseline.name == "loss=seed, decay.pos=0.5"
    with pytest.raises(
        UserError, match=r"baseline=loss=seed: several settings fit\. The settings are: loss=seed,decay"
    ):
        study_of(tmp_path, "loss=seed")


def test_a_warm_up_is_shown_beside_the_weight_and_1_is_1_0(truths: dict[str, np.ndarray], tmp_path: Path) -> None:
    for name, expand in (("a", "1.0"), ("b", "1"), ("c", "{weight: 1, warmup: [2, 6]}"), ("d", "0.5")):
        write_run(tmp_path / name, (f"loss.expand={expand}",), truths)
    names = [setting.name for setting in study_of(tmp_path).settings]
    assert names == [
        "loss.expand=0.5, loss.expand.warmup=null",
        "loss.expand=1, loss.expand.warmup=[2, 6]",
        "loss.expand=1, loss.expand.warmup=null",
    ]


def test_words_that_only_one_setting_has_name_the_baseline(truths: dict[str, np.ndarray], tmp_path: Path) -> None:
    for loss, pos in (("seed", 0.5), ("sec", 0.5), ("sec", 0.9)):
        write_run(tmp_path / f"{loss}{pos}", (f"loss={loss}", f"decay.pos={pos}"), truths)
    assert study_of(tmp_path, "loss=seed").baseline.name == "loss=seed, decay.pos=0.5"
    assert study_of(tmp_path, "decay.pos=0.9").baseline.name == "loss=sec, decay.pos=0.9"


def test_weights_that_are_not_an_option_are_swept_by_their_keys(truths: dict[str, np.ndarray], tmp_path: Path) -> None:
    for weight in (0.5, 1, 2):
        write_run(tmp_path / str(weight), (f"loss.expand={weight}",), truths)
    assert study_of(tmp_path).swept == ("loss.expand",)


def test_groups_are_swept_by_their_keys_if_a_run_does_not_record_its_options(
    truths: dict[str, np.ndarray], tmp_path: Path
) -> None:
    for loss in ("sec", "seed_expand"):
        write_run(tmp_path / loss, (f"loss={loss}",), truths)
    (tmp_path / "sec" / "options.yaml").unlink()
    assert study_of(tmp_path).swept == ("loss.constrain",)


def test_an_option_with_other_values_in_two_runs_is_shown_by_its_keys(
    truths: dict[str, np.ndarray], tmp_path: Path
) -> None:
    for number, words in enumerate([("loss=sec",), ("loss=sec", "loss.expand=0.5"), ("loss=seed",)]):
        write_run(tmp_path / str(number), words, truths)
    study = study_of(tmp_path)
    assert study.swept == ("loss.expand",)
    assert [setting.name for setting in study.settings] == ["loss.expand=0", "loss.expand=0.5", "loss.expand=1"]


def test_one_setting_alone_is_all_runs(truths: dict[str, np.ndarray], tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path / str(seed), (), truths, seed=seed)
    study = study_of(tmp_path)
    assert study.swept == ()
    assert [setting.name for setting in study.settings] == ["all runs"]


def test_the_baseline_is_the_best_setting_or_the_named_one(sweep: Sweep) -> None:
    assert study_of(sweep.folder).baseline.name == "loss=sec"  # by the CRF's figures, as all runs have them
    assert study_of(sweep.folder, "loss=seed").baseline.name == "loss=seed"
    with pytest.raises(UserError, match=r"baseline=loss=sed: no such setting. Did you mean 'loss=seed'"):
        study_of(sweep.folder, "loss=sed")


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ({"val_split": "test"}, "splits: test; val"),
        ({"val_images": 99}, "numbers of images: 5; 99"),
        ({"scored": ["background"]}, "classes"),
    ],
)
def test_runs_with_other_scored_images_or_classes_are_refused(
    entry: dict[str, object], what: str, sweep: Sweep, tmp_path: Path
) -> None:
    write_run(tmp_path / "other", (), sweep.truths, **entry)
    runs = find_runs([str(sweep.folder), str(tmp_path)])[0]
    with pytest.raises(UserError, match=f"different {what}"):
        open_study(runs)


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


def test_missing_results_are_left_out(sweep: Sweep, tmp_path: Path) -> None:
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
