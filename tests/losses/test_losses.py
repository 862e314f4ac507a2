"""Each term against its plain NumPy version, its gradient, and degenerate images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from secseg import losses
from secseg.losses import SECLoss, constrain_loss, expand_loss, floor_softmax, seed_loss, supervised_loss
from secseg.losses.pooling import Decay, global_weighted_rank_pooling
from secseg.utils.errors import UserError
from tests.reference import losses as reference

PAPER = Decay(pos=0.996, neg=0.0, bg=0.999)
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}


def example(seed: int = 0, size: tuple[int, int, int, int] = (3, 6, 7, 5), dtype: torch.dtype = torch.float64):
    """Scores, cues (no location twice), labels and CRF-like probabilities of a small batch."""
    generator = torch.Generator().manual_seed(seed)
    batch, classes, height, width = size
    scores = 3 * torch.randn(size, generator=generator, dtype=torch.float64)
    chosen = torch.randint(-classes, classes, (batch, height, width), generator=generator)
    cues = torch.stack([chosen == c for c in range(classes)], 1)
    labels = cues.flatten(2).any(2).double()
    labels[:, 2] = 0
    q = torch.softmax(4 * torch.randn(size, generator=generator, dtype=torch.float64), 1)
    return scores.to(dtype), cues, labels, q.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("seed", range(3))
def test_every_term_equals_its_plain_numpy_version(dtype: torch.dtype, seed: int) -> None:
    scores, cues, labels, q = example(seed, dtype=dtype)
    probs = floor_softmax(scores)
    f = reference.probabilities(scores.double().numpy())
    np.testing.assert_allclose(probs.numpy(), f, atol=TOLERANCE[dtype])
    expected = {
        "seed": reference.seed(f, cues.numpy()),
        "expand": reference.expand(f, labels.numpy(), *PAPER),
        "constrain": reference.constrain(f, q.double().numpy()),
    }
    got = {
        "seed": seed_loss(probs, cues),
        "expand": expand_loss(probs, labels, *PAPER),
        "constrain": constrain_loss(probs, q),
    }
    for term, value in expected.items():
        assert got[term].item() == pytest.approx(value, abs=TOLERANCE[dtype]), term


def test_gradients_of_every_term_are_those_of_finite_differences() -> None:
    scores, cues, labels, q = example(size=(2, 4, 3, 3))
    scores.requires_grad_()
    decays = (0.9, 0.0, 0.99)
    assert torch.autograd.gradcheck(lambda z: seed_loss(floor_softmax(z), cues), scores)
    assert torch.autograd.gradcheck(lambda z: expand_loss(floor_softmax(z), labels, *decays), scores)
    assert torch.autograd.gradcheck(lambda z: constrain_loss(floor_softmax(z), q), scores)
    mask = torch.tensor([[[0, 1, 2], [3, 255, 0], [1, 1, 1]]] * 2)
    assert torch.autograd.gradcheck(lambda z: supervised_loss(floor_softmax(z), mask), scores)


def test_the_constrain_gradient_flows_through_a_crf_that_passes_it() -> None:
    scores, _, _, _ = example(size=(1, 3, 3, 3))
    scores.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: constrain_loss(floor_softmax(z), torch.softmax(1.5 * z, 1)), scores, atol=1e-4
    )


def degenerate_batches() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Cues and labels (5 classes, 4 x 4) that make the official formulas divide by zero."""
    none = torch.zeros(2, 5, 4, 4, dtype=torch.bool)
    background = none.clone()
    background[:, 0, 0] = True
    everything = torch.ones(2, 5)
    return {
        "no cue at all": (none, torch.tensor([[0, 1, 0, 0, 0]] * 2)),
        "no foreground label": (background, torch.zeros(2, 5)),
        "every class present": (background, everything),
        "neither cue nor label": (none, torch.zeros(2, 5)),
    }


@pytest.mark.parametrize("case", degenerate_batches())
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_degenerate_images_and_extreme_scores_give_finite_losses_and_gradients(
    case: str, dtype: torch.dtype, scale: float
) -> None:
    cues, labels = degenerate_batches()[case]
    scores = (scale * torch.randn(2, 5, 4, 4, generator=torch.Generator().manual_seed(1))).to(dtype).requires_grad_()
    terms = SECLoss({"seed": 1, "expand": 1, "constrain": 1}, PAPER, crf=lambda z, _: torch.softmax(2 * z, 1).detach())(
        scores, cues=cues, labels=labels, images=torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    )
    terms["loss"].backward()
    assert all(torch.isfinite(value) for value in terms.values())
    assert torch.isfinite(scores.grad).all()


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
    )
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(probs.grad).all()


def test_an_image_without_cues_counts_in_the_mean_over_the_batch() -> None:
    scores, cues, _, _ = example()
    probs = floor_softmax(scores)
    alone = seed_loss(probs[:1], cues[:1])
    both = seed_loss(torch.cat([probs[:1], probs[1:2]]), torch.cat([cues[:1], torch.zeros_like(cues[:1])]))
    assert both.item() == pytest.approx(alone.item() / 2)


def test_absent_classes_are_punished_for_being_predicted() -> None:
    labels = torch.tensor([[0, 1, 0]])
    quiet = floor_softmax(torch.tensor([0.0, 2.0, -4.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4))
    loud = floor_softmax(torch.tensor([0.0, 2.0, 4.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4))
    assert expand_loss(loud, labels, *PAPER) > expand_loss(quiet, labels, *PAPER)


def test_the_background_column_of_the_labels_is_not_read() -> None:
    scores, _, labels, _ = example()
    probs = floor_softmax(scores)
    with_background, without = labels.clone(), labels.clone()
    with_background[:, 0], without[:, 0] = 1, 0
    assert expand_loss(probs, with_background, *PAPER) == expand_loss(probs, without, *PAPER)


def test_on_a_cpu_only_the_images_own_classes_are_sorted(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, _, labels, _ = example()
    rows: list[tuple[float, int]] = []

    def counted(scores: torch.Tensor, decay: float) -> torch.Tensor:
        rows.append((decay, scores[..., 0].numel()))
        return global_weighted_rank_pooling(scores, decay)

    monkeypatch.setattr(losses.expand, "global_weighted_rank_pooling", counted)
    picked = expand_loss(floor_softmax(scores), labels, 0.9, 0.5, 0.99)
    present = int(labels[:, 1:].sum())
    assert sorted(rows) == [(0.5, labels[:, 1:].numel() - present), (0.9, present), (0.99, len(labels))]
    monkeypatch.setattr(losses.expand, "_pool", lambda scores, _, decay: global_weighted_rank_pooling(scores, decay))
    torch.testing.assert_close(expand_loss(floor_softmax(scores), labels, 0.9, 0.5, 0.99), picked)


def test_a_crf_that_changes_nothing_costs_nothing() -> None:
    scores, _, _, _ = example()
    probs = floor_softmax(scores)
    assert constrain_loss(probs, probs).item() == pytest.approx(0, abs=1e-12)


def test_crf_probabilities_of_zero_are_floored() -> None:
    probs = torch.full((1, 2, 1, 1), 0.5, dtype=torch.float64)
    q = torch.tensor([1.0, 0.0], dtype=torch.float64).view(1, 2, 1, 1)
    assert constrain_loss(probs, q).item() == pytest.approx(reference.constrain(probs.numpy(), q.numpy()), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_scores_are_computed_in_float32(dtype: torch.dtype) -> None:
    scores, cues, labels, q = example(dtype=dtype)
    single = scores.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = SECLoss({"seed": 1, "expand": 1, "constrain": 1}, PAPER, crf=lambda *_: q.float())
        inside = loss(scores, cues=cues, labels=labels, images=torch.zeros(3, 3, 7, 5))
    f = floor_softmax(single)
    outside = seed_loss(f, cues) + expand_loss(f, labels, *PAPER) + constrain_loss(f, q.float())
    assert inside["loss"].dtype == torch.float32
    assert inside["loss"].item() == pytest.approx(outside.item(), abs=1e-6)


def test_any_subset_of_the_terms_can_be_weighted_but_not_none() -> None:
    scores, cues, labels, q = example()
    inputs = {"cues": cues, "labels": labels, "images": torch.zeros(3, 3, 7, 5)}
    full = SECLoss({"seed": 1, "expand": 1, "constrain": 1}, PAPER, lambda *_: q)(scores, **inputs)
    for term in ("seed", "expand", "constrain"):
        single = SECLoss({term: 2.5}, PAPER, lambda *_: q)(scores, **inputs)
        assert set(single) == {term, "loss"}
        assert single["loss"].item() == pytest.approx(2.5 * full[term].item())
    for weights in ({}, {"seed": 0, "expand": 0}, {"seed": -1}, {"sed": 1}):
        with pytest.raises(UserError):
            SECLoss(weights, PAPER)
    with pytest.raises(UserError, match="needs a CRF"):
        SECLoss({"constrain": 1}, PAPER, crf=None)


def test_void_locations_and_all_void_images_do_not_count_in_the_supervised_loss() -> None:
    scores, _, _, _ = example(size=(2, 3, 2, 2))
    probs = floor_softmax(scores)
    mask = torch.tensor([[[0, 255], [2, 255]], [[255, 255], [255, 255]]])
    expected = -(probs[0, 0, 0, 0].log() + probs[0, 2, 1, 0].log()) / 2 / 2
    assert supervised_loss(probs, mask).item() == pytest.approx(expected.item())
