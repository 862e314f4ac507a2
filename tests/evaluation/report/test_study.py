"""What was swept, and which runs can be compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secseg.evaluation.report.runs import find_runs
from secseg.evaluation.report.study import Study, open_study
from secseg.utils.errors import UserError
from tests.evaluation.report.conftest import Sweep
from tests.evaluation.report.synthetic import write_run


def study_of(folder: Path, baseline: str | None = None) -> Study:
    return open_study(find_runs(str(folder))[0], baseline)


def test_a_group_is_called_by_its_option_and_seeds_are_gathered(sweep: Sweep) -> None:
    study = study_of(sweep.folder)
    assert study.swept == ("loss",)
    assert [setting.name for setting in study.settings] == ["loss=sec", "loss=seed", "loss=seed_expand"]
    assert [[run.seed for run in setting.runs] for setting in study.settings] == [[0, 1]] * 3
    assert study.main_variant() == "with_crf"


def test_numbers_are_in_their_order_and_a_key_that_follows_from_another_is_left_out(
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


def test_weights_that_are_no_option_are_swept_by_their_keys(truths: dict[str, np.ndarray], tmp_path: Path) -> None:
    for weight in (0.5, 1, 2):
        write_run(tmp_path / str(weight), (f"loss.expand={weight}",), truths)
    assert study_of(tmp_path).swept == ("loss.expand",)


def test_groups_are_swept_by_their_keys_where_a_run_does_not_record_its_options(
    truths: dict[str, np.ndarray], tmp_path: Path
) -> None:
    for loss in ("sec", "seed_expand"):
        write_run(tmp_path / loss, (f"loss={loss}",), truths)
    (tmp_path / "sec" / "options.yaml").unlink()
    assert study_of(tmp_path).swept == ("loss.constrain",)


def test_an_option_with_other_values_in_two_runs_is_told_apart_by_its_keys(
    truths: dict[str, np.ndarray], tmp_path: Path
) -> None:
    for number, words in enumerate([("loss=sec",), ("loss=sec", "loss.expand=0.5"), ("loss=seed",)]):
        write_run(tmp_path / str(number), words, truths)
    study = study_of(tmp_path)
    assert study.swept == ("loss.expand",)
    assert [setting.name for setting in study.settings] == ["loss.expand=0.0", "loss.expand=0.5", "loss.expand=1.0"]


def test_one_setting_alone_is_all_runs(truths: dict[str, np.ndarray], tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path / str(seed), (), truths, seed=seed)
    study = study_of(tmp_path)
    assert study.swept == ()
    assert [setting.name for setting in study.settings] == ["all runs"]


def test_the_baseline_is_the_best_setting_or_the_one_that_is_named(sweep: Sweep) -> None:
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
def test_runs_that_were_scored_on_something_else_are_refused(
    entry: dict[str, object], what: str, sweep: Sweep, tmp_path: Path
) -> None:
    write_run(tmp_path / "other", (), sweep.truths, **entry)
    runs = find_runs([str(sweep.folder), str(tmp_path)])[0]
    with pytest.raises(UserError, match=f"different {what}"):
        open_study(runs)
