"""Pooling of scores, and the decays of ranked pooling."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from secseg.losses.pooling import decay_from_fraction, global_weighted_rank_pooling, log_mean_exp_pooling, resolve_decay
from secseg.utils.errors import UserError
from tests.reference.localization import log_mean_exp
from tests.reference.losses import gwrp


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.996, 0.999, 1.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_pooling_equals_its_plain_numpy_version(decay: float, dtype: torch.dtype, tolerance: float) -> None:
    scores = torch.rand(2, 3, 1681, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pooled = global_weighted_rank_pooling(scores.to(dtype), decay)
    expected = [[gwrp(scores[b, c].numpy(), decay) for c in range(3)] for b in range(2)]
    np.testing.assert_allclose(pooled.numpy(), expected, atol=tolerance)


@pytest.mark.parametrize("decay", [0.996, 0.999])
def test_the_weights_of_the_ranks_are_exact_in_float32(decay: float) -> None:
    scores = torch.eye(1681)  # each row gets the weight of the first rank
    weight = (1 - decay) / (1 - decay**1681)
    np.testing.assert_allclose(global_weighted_rank_pooling(scores, decay).numpy(), weight, rtol=1e-7)


def test_decay_zero_is_max_and_one_is_average_pooling() -> None:
    scores = torch.rand(4, 7)
    assert torch.equal(global_weighted_rank_pooling(scores, 0), scores.max(-1).values)
    torch.testing.assert_close(global_weighted_rank_pooling(scores, 1), scores.mean(-1))


@pytest.mark.parametrize("decay", [0.0, 0.7, 1.0])
def test_the_gradient_is_that_of_finite_differences(decay: float) -> None:
    scores = torch.rand(2, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(3), requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: global_weighted_rank_pooling(s, decay), scores)


def test_half_precision_is_pooled_in_float32() -> None:
    scores = torch.rand(1681).bfloat16()
    assert global_weighted_rank_pooling(scores, 0.996).dtype == torch.float32


@pytest.mark.parametrize("decay", [-0.1, 1.1, float("nan")])
def test_a_decay_outside_0_to_1_is_refused(decay: float) -> None:
    with pytest.raises(UserError, match=r"\[0, 1\]"):
        global_weighted_rank_pooling(torch.rand(3), decay)


@pytest.mark.parametrize("n", [1, 2, 49, 441, 1681, 160_000])
@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.3, 0.49])
def test_the_solved_decay_gives_the_top_fraction_its_share(fraction: float, n: int) -> None:
    decay = decay_from_fraction(fraction, n)
    if fraction * n < 1:
        assert decay == 0
        return
    share = (1 - decay ** (fraction * n)) / (1 - decay**n)
    assert share == pytest.approx(0.5, abs=1e-6)


def test_the_papers_decays_come_from_the_rule_at_41_by_41() -> None:
    assert decay_from_fraction(0.1, 1681) == pytest.approx(0.996, abs=2e-4)
    assert decay_from_fraction(0.3, 1681) == pytest.approx(0.999, abs=2e-4)


def test_only_decays_that_are_null_are_solved_from_their_fractions() -> None:
    fraction = {"pos": 0.1, "bg": 0.3, "share": 0.5}
    decay = resolve_decay(None, 0.0, 0.999, fraction, 841)
    assert decay == (decay_from_fraction(0.1, 841), 0.0, 0.999)


@pytest.mark.parametrize(
    ("fraction", "n", "share"), [(0, 10, 0.5), (1.5, 10, 0.5), (0.1, 0, 0.5), (0.1, 9, 1), (0.6, 9, 0.5)]
)
def test_a_fraction_without_a_decay_is_refused(fraction: float, n: int, share: float) -> None:
    with pytest.raises(UserError):
        decay_from_fraction(fraction, n, share)


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 8.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_log_mean_exp_pooling_equals_its_plain_numpy_version(
    sharpness: float, dtype: torch.dtype, tolerance: float
) -> None:
    scores = 5 * torch.randn(2, 3, 1681, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = [[log_mean_exp(one.numpy(), sharpness) for one in image] for image in scores]
    np.testing.assert_allclose(log_mean_exp_pooling(scores.to(dtype), sharpness), expected, atol=tolerance)


def test_log_mean_exp_pooling_lies_between_average_and_maximum() -> None:
    scores = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(log_mean_exp_pooling(scores, 1e-3), scores.mean(-1), atol=2e-3, rtol=0)
    torch.testing.assert_close(log_mean_exp_pooling(scores, 1e3), scores.amax(-1), atol=5e-3, rtol=0)
    assert log_mean_exp_pooling(torch.full((1, 9), 300.0)).item() == pytest.approx(300)
