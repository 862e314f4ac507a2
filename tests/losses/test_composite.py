"""The weighted sum of the terms."""

from __future__ import annotations

import pytest
import torch

from secseg.losses import SECLoss, build_terms, constrain_loss, expand_loss, floor_softmax, seed_loss
from tests.losses.test_terms import PAPER, example

SEC = {"seed": 1, "expand": 1, "constrain": 1}


def test_any_subset_of_the_terms_can_be_weighted() -> None:
    batch = example()
    full = SECLoss(build_terms(SEC), PAPER, lambda *_: batch["q"])(batch["scores"], batch)
    assert list(full) == ["loss", *SEC]
    for term in SEC:
        single = SECLoss(build_terms({term: 2.5}), PAPER, lambda *_: batch["q"])(batch["scores"], batch)
        assert set(single) == {term, "loss"}
        assert single["loss"].item() == pytest.approx(2.5 * full[term].item())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_scores_are_computed_in_float32(dtype: torch.dtype) -> None:
    batch = example()
    scores, q = batch["scores"].to(dtype), batch["q"].float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = SECLoss(build_terms(SEC), PAPER, crf=lambda *_: q)(scores, batch)
    f = floor_softmax(scores.float())
    outside = seed_loss(f, batch["cues"]) + expand_loss(f, batch["labels"], *PAPER) + constrain_loss(f, q)
    assert inside["loss"].dtype == torch.float32
    assert inside["loss"].item() == pytest.approx(outside.item(), abs=1e-6)


def test_terms_share_one_pass_of_the_crf_and_the_pooling_of_the_loss() -> None:
    batch, calls, pooled = example(), [], []

    def crf(logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        calls.append(images)
        return batch["q"]

    def maximum(scores: torch.Tensor, decay: float) -> torch.Tensor:
        pooled.append(decay)
        return scores.amax(-1)

    images = torch.zeros(3, 3, 7, 5, dtype=torch.uint8)
    terms = build_terms({"expand": 1.0, "constrain": 1.0})
    loss = SECLoss({**terms, "again": terms["constrain"]}, PAPER, crf, maximum)
    values = loss(batch["scores"], {**batch, "crf_image": images})
    assert [value is images for value in calls] == [True]
    assert values["constrain"] == values["again"]
    assert sorted(pooled) == sorted(PAPER)
    expected = expand_loss(floor_softmax(batch["scores"]), batch["labels"], 0, 0, 0)
    assert values["expand"].item() == pytest.approx(expected.item())


def test_the_weight_of_a_term_rises_between_the_steps_of_its_warm_up() -> None:
    batch = example()
    terms = build_terms({"seed": 1.0, "expand": {"weight": 2.0, "warmup": [10, 30]}})
    loss = SECLoss(terms, PAPER)
    for step, factor in ((0, 0.0), (10, 0.0), (15, 0.5), (30, 2.0), (100, 2.0)):
        values = loss(batch["scores"], batch, step)
        assert values["loss"].item() == pytest.approx(values["seed"].item() + factor * values["expand"].item())
    at_once = build_terms({"expand": {"warmup": [5, 5]}})["expand"]
    assert (at_once.weight_at(4), at_once.weight_at(5)) == (0, 1)
