"""Options of the loss compose with each other, or are refused."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from secseg.losses.terms import needed
from secseg.training.run import build_loss, build_training_terms
from secseg.training.settings import check_settings
from secseg.utils.config import compose, to_plain
from secseg.utils.errors import UserError
from tests.losses.test_terms import example

OPTIONS = (
    "loss=dsrg",
    "loss=seed_expand",
    "loss.balanced_seed=1",
    "loss.crf_energy={weight: 0.1, xy: 4, rgb: 15, backend: lattice}",
    "loss.normalized_cut={weight: 0.1, xy: 4, rgb: 15, backend: exact}",
    "loss.expand={weight: 1, warmup: [0, 2]}",
    "loss.supervised=1",
    "seeds=grow",
    "decay=adaptive",
    "decay=fraction",
    "crf=par",
    "crf=exact_training",
    "crf.train.unary=probabilities",
)
NO_CRF = "crf.train.backend=none"


PAIRS = [(a, b) for a, b in combinations(OPTIONS, 2) if a.split("=")[0] != b.split("=")[0]]  # a group has one option


@pytest.mark.parametrize("pair", PAIRS, ids=" ".join)
def test_each_pair_of_options_trains(pair: tuple[str, str]) -> None:
    config = to_plain(compose("train", "run_dir=runs/x", "data.masks=some", *pair))
    check_settings(config)
    batch = example(2)
    terms = build_training_terms(config)
    loss = build_loss(config, terms, 35, 6)
    scores = batch["scores"].float().requires_grad_()
    masked = torch.tensor([True, False, False])
    values = loss(scores, {**batch, "crf_image": batch["images"], "masked": masked}, step=1)
    values["loss"].backward()
    assert scores.grad is not None
    assert torch.isfinite(values["loss"])
    assert torch.isfinite(scores.grad).all()
    assert scores.grad.any()
    assert ("crf" in needed(terms.values())) == (loss.crf is not None)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("seeds=grow", "seeds=grow needs a CRF in training"),
        ("decay=adaptive", "decay=adaptive needs a CRF in training"),
    ],
)
def test_an_option_that_reads_the_crf_is_refused_without_one(word: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_settings(compose("train", "run_dir=runs/x", word, NO_CRF))


def test_decays_that_are_estimated_and_solved_from_fractions_are_refused() -> None:
    words = ("decay=adaptive", "decay.fraction={pos: 0.1, bg: 0.3}")
    with pytest.raises(UserError, match="both solve the decays"):
        check_settings(compose("train", "run_dir=runs/x", *words))
