"""Decays that are solved for the estimated size of each class in each image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from secseg.losses import AdaptiveDecay, Decay, LossInputs, expand_loss, floor_softmax, global_weighted_rank_pooling
from secseg.losses.adaptive_decay import measure_sizes, scores_of_cues
from secseg.losses.growing import Growing
from secseg.losses.pooling import decay_from_fraction, decays_of_sizes
from tests.losses.test_terms import example, inputs
from tests.reference import losses as reference

BOTH = (None, 0.0, None)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("seed", range(5))
def test_expand_with_a_decay_for_each_row_is_that_of_the_plain_version(seed: int) -> None:
    batch = example(seed)
    pos, bg = drawn(3, 5, seed=seed), drawn(3, seed=seed + 9)
    pos[0, 0], pos[0, 1] = 0.0, 1.0
    f = floor_softmax(batch["scores"])
    expected = reference.expand_by_row(f.numpy(), batch["labels"].numpy(), pos.numpy(), 0.0, bg.numpy())
    assert expand_loss(f, batch["labels"], pos, 0.0, bg).item() == pytest.approx(expected, abs=1e-12)


def test_rows_with_the_same_decay_are_pooled_as_with_a_number() -> None:
    scores = torch.rand(4, 1681)
    for decay in (0.0, 0.996, 0.999, 1.0):
        rows = global_weighted_rank_pooling(scores, torch.full((4,), decay, dtype=torch.float64))
        torch.testing.assert_close(rows, global_weighted_rank_pooling(scores, decay), rtol=1e-6, atol=0)


def test_the_gradient_with_a_decay_for_each_row_is_that_of_finite_differences() -> None:
    scores = drawn(3, 9).requires_grad_()
    decays = torch.tensor([0.0, 0.7, 1.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda s: global_weighted_rank_pooling(s, decays), scores)


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("n", [49, 1681])
def test_the_decays_of_many_sizes_are_those_of_the_rule(n: int, share: float) -> None:
    sizes = torch.tensor([0.03, 0.1, 0.2, 0.4, share - 0.01, share, 0.99, 1.0])
    solved = decays_of_sizes(sizes, n, share)
    expected = [reference.decay_of_size(size, n, share) for size in sizes.double().tolist()]
    np.testing.assert_allclose(solved.numpy(), expected, atol=1e-6)
    assert solved[1].item() == pytest.approx(decay_from_fraction(float(sizes[1]), n, share), abs=1e-9)


def test_the_size_of_a_class_is_the_share_of_the_mask_that_its_grown_seeds_cover() -> None:
    batch = example(3)
    growing = Growing(0.5, 0.3)
    sizes = measure_sizes("seeds", inputs(batch, batch["scores"]), growing)
    for b in range(3):
        grown = reference.grown(batch["cues"][b].numpy(), batch["q"][b].numpy(), batch["labels"][b].numpy(), 0.5, 0.3)
        np.testing.assert_allclose(sizes[b].numpy(), grown.reshape(6, -1).mean(1), atol=1e-6)


@pytest.mark.parametrize("source", ["prediction", "cues"])
def test_the_sizes_of_a_prediction_fill_the_mask_with_the_classes_of_the_image(source: str) -> None:
    batch = example(1)
    sizes = measure_sizes(source, inputs(batch, batch["scores"]), Growing())
    torch.testing.assert_close(sizes.sum(1), torch.ones(3))
    assert not sizes[:, 1:][batch["labels"][:, 1:] == 0].any()


def test_the_crf_of_the_cues_knows_the_cues_and_not_the_scores() -> None:
    cues, labels = torch.zeros(1, 3, 1, 3), torch.tensor([[0.0, 1.0, 0.0]])
    cues[0, 1, 0, 0] = 1
    probs = torch.softmax(scores_of_cues(cues, labels), 1)[0, :, 0]
    expected = torch.tensor([[0.1, 0.5, 0.5], [0.9, 0.5, 0.5], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(probs, expected, atol=1e-5, rtol=0)


def estimate(batch: dict[str, Tensor], decay: AdaptiveDecay) -> Decay:
    return decay(replace(inputs(batch, batch["scores"]), decay=decay))


def test_sizes_are_bounded_and_a_given_decay_is_kept() -> None:
    decay = AdaptiveDecay((None, 0.0, 0.999), 6, share=0.5, least=0.2, most=0.2)
    found = estimate(example(), decay)
    assert found.bg == 0.999
    torch.testing.assert_close(found.pos, torch.full((3, 5), decay_from_fraction(0.2, 35), dtype=torch.float64))


def test_smoothing_moves_the_size_to_the_mean_of_the_class() -> None:
    first, second = example(0), example(1)
    decay = AdaptiveDecay(BOTH, 6, Growing(0.5, 0.3), share=0.5, smoothing=1.0, least=1e-6)
    now = [measure_sizes("seeds", inputs(batch, batch["scores"]), decay.growing) for batch in (first, second)]
    estimate(first, decay)
    own = first["labels"].bool()
    own[:, 0] = True
    means = torch.stack([now[0][own[:, c], c].mean() for c in range(6)]).nan_to_num()
    torch.testing.assert_close(decay.mean, means)
    found = estimate(second, decay)
    again = second["labels"].bool()
    again[:, 0] = True
    moved = [0.95 * means[c] + 0.05 * now[1][again[:, c], c].mean() for c in (0, 1)]
    torch.testing.assert_close(decay.mean[:2], torch.stack(moved))
    torch.testing.assert_close(found.bg, decays_of_sizes(decay.mean[0].expand(3), 35))


def test_the_estimate_never_reads_masks() -> None:
    batch = example()
    given = inputs(batch, batch["scores"])
    decay = AdaptiveDecay(BOTH, 6)
    with_masks = decay(given)
    without = AdaptiveDecay(BOTH, 6)(replace(given, mask=None))  # type: ignore[arg-type]
    assert torch.equal(torch.as_tensor(with_masks.pos), torch.as_tensor(without.pos))


def test_the_decays_have_no_gradient() -> None:
    batch = example()
    given: LossInputs = inputs(batch, batch["scores"].requires_grad_())
    found = AdaptiveDecay(BOTH, 6)(given)
    assert not torch.as_tensor(found.pos).requires_grad
