"""``callbacks=seeds``: precision and recall of cues and grown seeds, from masks that the loss never reads."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from secseg.losses import grow_seeds
from secseg.training.run import train
from secseg.training.seed_figures import SeedFigures, rates, seed_counts, size_errors, size_ratios
from secseg.utils.config import compose
from secseg.utils.errors import UserError
from tests.reference.losses import seed_rates
from tests.training.tiny_run import TINY, Run, weights

PLAIN = ["evaluation.crf=never", "callbacks.pictures=null", "callbacks.curves=null", "callbacks.predictions=null"]


@pytest.fixture
def run(shapes: Path, tmp_path: Path) -> Run:
    def start(*overrides: str, folder: str = "run") -> dict[str, Any]:
        return train(compose("train", *TINY, *PLAIN, f"data.root={shapes}", f"run_dir={tmp_path / folder}", *overrides))

    return start


def logged(result: dict[str, Any]) -> dict[int, dict[str, float]]:
    """Return the figures of the seeds by step."""
    with (result["run"] / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row.get("seeds/cues/precision_foreground")]
    return {int(row["step"]): {key: float(row[key]) for key in row if key.startswith("seeds/")} for row in rows}


@pytest.mark.parametrize("seed", range(10))
def test_the_figures_are_those_of_the_plain_version(seed: int) -> None:
    rng = np.random.default_rng(seed)
    seeds = rng.random((2, 4, 6, 7)) < 0.3
    mask = rng.choice(np.array([0, 0, 1, 2, 255], np.uint8), (2, 6, 7))
    found = dict(rates(seed_counts(torch.from_numpy(seeds), torch.from_numpy(mask))))
    for part, classes in (("background", [0]), ("foreground", [1, 2, 3])):
        expected = seed_rates(seeds, mask, classes)
        assert (found[f"precision_{part}"], found[f"recall_{part}"]) == pytest.approx(expected)


def test_sizes_are_compared_by_class_and_image() -> None:
    mask = torch.tensor([[[0, 0, 1, 1, 255]], [[0, 0, 0, 2, 2]]], dtype=torch.uint8)
    seeds = torch.zeros(2, 3, 1, 5, dtype=torch.bool)
    seeds[0, 1, 0, 2] = True  # a fifth of the image, for half of its known pixels
    seeds[1, 2, 0, 1:] = True  # four fifths for two
    seeds[:, 0, 0, 0] = True
    ratios = size_ratios(seeds, mask, torch.tensor([[0, 1, 1], [0, 0, 1]]))
    expected = torch.tensor([[0.2 / 0.5, 0.2 / 0.5, torch.nan], [0.2 / 0.6, torch.nan, 2.0]])
    torch.testing.assert_close(ratios, expected, equal_nan=True)
    figures = dict(size_errors(ratios))
    logs = np.log([0.4, 2.0])
    assert figures["size_ratio_foreground"] == pytest.approx(np.exp(np.median(logs)))
    assert figures["size_factor_foreground"] == pytest.approx(np.exp(np.median(np.abs(logs))))
    assert math.isnan(dict(size_errors(ratios[:, :1]))["size_ratio_foreground"])


def test_without_seeds_precision_is_not_a_number_and_recall_is_zero() -> None:
    counts = seed_counts(torch.zeros(1, 3, 2, 2, dtype=torch.bool), torch.ones(1, 2, 2, dtype=torch.uint8))
    figures = dict(rates(counts))
    assert math.isnan(figures["precision_foreground"])
    assert math.isnan(figures["recall_background"]), "there is no background"
    assert figures["recall_foreground"] == 0


@pytest.mark.parametrize("unary", ["scores", "probabilities"])
def test_each_validation_logs_the_seeds_of_its_network_and_the_training_is_the_same(run: Run, unary: str) -> None:
    settings = ["loss=dsrg", "seeds=grow", "seeds.foreground=0.2", "seeds.background=0.2", f"crf.train.unary={unary}"]
    plain, watched = run(*settings, folder="plain"), run(*settings, "callbacks=seeds", folder="watched")
    assert all(torch.equal(value, weights(plain)[name]) for name, value in weights(watched).items())
    steps = logged(watched)
    assert len(steps) == 2
    cues = [{key: row[key] for key in row if "/cues/" in key} for row in steps.values()]
    assert cues[0] == cues[1], "the cues stay"
    last = list(steps.values())[-1]
    assert last["seeds/grown/recall_foreground"] >= last["seeds/cues/recall_foreground"] > 0

    module, data = watched["module"].eval(), watched["datamodule"].train_data
    seeds, masks = [], []
    data.masks = True
    for number in range(len(data)):
        sample = data[number, False]
        with torch.no_grad():
            probs = module.training_crf(module.network(sample["image"][None]), sample["crf_image"][None])
        seeds.append(grow_seeds(sample["cues"][None], probs, sample["labels"][None], 0.2, 0.2)[0].numpy())
        masks.append(sample["mask"].numpy())
    for part, classes in (("background", [0]), ("foreground", list(range(1, seeds[0].shape[0])))):
        expected = seed_rates(np.array(seeds), np.array(masks), classes)
        found = last[f"seeds/grown/precision_{part}"], last[f"seeds/grown/recall_{part}"]
        assert found == pytest.approx(expected, abs=0.02, nan_ok=True)


def test_a_loss_without_crf_has_the_figures_of_its_cues_alone(run: Run) -> None:
    result = run("loss=seed", "callbacks=seeds", "callbacks.seeds.images=2")
    assert {key.split("/")[1] for row in logged(result).values() for key in row} == {"cues"}


def test_settings_that_do_not_fit_are_refused(run: Run) -> None:
    with pytest.raises(UserError, match=r"callbacks\.seeds\.images=0"):
        SeedFigures(0)
    with pytest.raises(UserError, match=r"no term of the loss uses cues"):
        run("loss=supervised", "data.masks=dataset", "callbacks=seeds")
