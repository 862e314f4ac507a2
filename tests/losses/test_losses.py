"""Claims about single formulas. Claims about every term are in ``test_terms.py``."""

from __future__ import annotations

import pytest
import torch

from secseg import losses
from secseg.losses import constrain_loss, expand_loss, floor_softmax, seed_loss, supervised_loss
from secseg.losses.pooling import global_weighted_rank_pooling
from tests.losses.test_terms import PAPER, example
from tests.reference import losses as reference


def test_the_constrain_gradient_flows_through_a_crf_that_passes_it() -> None:
    scores = example(size=(1, 3, 3, 3))["scores"].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: constrain_loss(floor_softmax(z), torch.softmax(1.5 * z, 1)), scores, atol=1e-4
    )


def test_probabilities_of_exactly_zero_and_one_give_finite_losses_and_gradients() -> None:
    probs = torch.zeros(1, 3, 2, 2)
    probs[:, 1] = 1
    probs.requires_grad_()
    cues = torch.zeros(1, 3, 2, 2)
    cues[:, 0, 0, 0] = 1
    total = (
        seed_loss(probs, cues)
        + expand_loss(probs, torch.tensor([[0, 0, 1]]), *PAPER)
        + constrain_loss(probs, probs.detach())
        + supervised_loss(probs, torch.tensor([[[0, 1], [2, 255]]]))
    )
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(probs.grad).all()


def test_absent_classes_are_punished_for_being_predicted() -> None:
    labels = torch.tensor([[0, 1, 0]])
    quiet = floor_softmax(torch.tensor([0.0, 2.0, -4.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4))
    loud = floor_softmax(torch.tensor([0.0, 2.0, 4.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4))
    assert expand_loss(loud, labels, *PAPER) > expand_loss(quiet, labels, *PAPER)


def test_the_background_column_of_the_labels_is_not_read() -> None:
    batch = example()
    probs, labels = floor_softmax(batch["scores"]), batch["labels"]
    with_background, without = labels.clone(), labels.clone()
    with_background[:, 0], without[:, 0] = 1, 0
    assert expand_loss(probs, with_background, *PAPER) == expand_loss(probs, without, *PAPER)


def test_a_cpu_sorts_the_scores_of_the_images_own_classes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = example()
    probs, labels = floor_softmax(batch["scores"]), batch["labels"]
    rows: list[tuple[float, int]] = []

    def counted(scores: torch.Tensor, decay: float) -> torch.Tensor:
        rows.append((decay, scores[..., 0].numel()))
        return global_weighted_rank_pooling(scores, decay)

    picked = expand_loss(probs, labels, 0.9, 0.5, 0.99, counted)
    present = int(labels[:, 1:].sum())
    assert sorted(rows) == [(0.5, labels[:, 1:].numel() - present), (0.9, present), (0.99, len(labels))]
    monkeypatch.setattr(losses.expand, "_pool_chosen", lambda scores, _, decay, pooling: pooling(scores, decay))
    torch.testing.assert_close(expand_loss(probs, labels, 0.9, 0.5, 0.99), picked)


def test_a_crf_that_changes_nothing_costs_nothing() -> None:
    probs = floor_softmax(example()["scores"])
    assert constrain_loss(probs, probs).item() == pytest.approx(0, abs=1e-12)


def test_crf_probabilities_of_zero_are_floored() -> None:
    probs = torch.full((1, 2, 1, 1), 0.5, dtype=torch.float64)
    q = torch.tensor([1.0, 0.0], dtype=torch.float64).view(1, 2, 1, 1)
    assert constrain_loss(probs, q).item() == pytest.approx(reference.constrain(probs.numpy(), q.numpy()), abs=1e-12)
