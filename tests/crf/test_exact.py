"""Exact mean field against brute force, its three gradients, and its limits."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from secseg.crf import CRFParams, build_crf
from secseg.crf.exact import MOST_PIXELS, Backend
from secseg.losses import constrain_loss, floor_softmax
from secseg.utils.errors import UserError
from tests.crf import TRAINING, scores, textured
from tests.reference.crf import mean_field

SMALL = CRFParams(
    bilateral_weight=4, bilateral_xy=3, bilateral_rgb=40, gaussian_weight=2, gaussian_xy=1.5, iterations=3
)


@pytest.mark.parametrize("params", [SMALL, TRAINING, dataclasses.replace(SMALL, bilateral_weight=0)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_exact_equals_brute_force(params: CRFParams, dtype: torch.dtype, tolerance: float) -> None:
    logits, images = textured((2, 4, 7, 9), dtype=dtype)
    probs = build_crf("exact", params)(logits, images)
    assert probs.dtype == dtype
    for q, z, image in zip(probs, logits, images, strict=True):
        expected = mean_field(z.double().numpy(), image.numpy(), **dataclasses.asdict(params))
        np.testing.assert_allclose(q.numpy(), expected, atol=tolerance, rtol=0)


def test_float32_is_precise_enough_on_the_training_grid() -> None:
    logits, images = textured((2, 21, 41, 41), dtype=torch.float64)
    crf = build_crf("exact", TRAINING)
    single, double = crf(logits.float(), images), crf(logits, images)
    assert (single - double).abs().max() < 1e-4
    torch.testing.assert_close(single.argmax(1), double.argmax(1))


def test_exact_gradient_passes_gradcheck() -> None:
    logits, images = textured((2, 2, 3, 3), dtype=torch.float64)
    crf = build_crf("exact", SMALL, "exact")
    assert torch.autograd.gradcheck(lambda z: crf(z, images), logits.requires_grad_())


def test_exact_gradient_reaches_the_scores_through_the_constrain_loss() -> None:
    logits, images = textured((2, 2, 3, 3), dtype=torch.float64)
    crf = build_crf("exact", SMALL, "exact")

    def loss(z: torch.Tensor) -> torch.Tensor:
        return constrain_loss(floor_softmax(z), crf(z, images))

    assert torch.autograd.gradcheck(loss, logits.requires_grad_())


@pytest.mark.parametrize("backend", ["exact", "lattice"])
def test_stop_makes_q_a_constant(backend: str) -> None:
    logits, images = textured((1, 3, 5, 6))
    assert not build_crf(backend, SMALL, "stop")(logits.requires_grad_(), images).requires_grad


@pytest.mark.parametrize("backend", ["exact", "lattice"])
def test_diagonal_passes_one_minus_q_times_the_gradient_by_log_q(backend: str) -> None:
    logits, images = textured((2, 3, 5, 6))
    q = build_crf(backend, SMALL, "diagonal")(logits.requires_grad_(), images)
    torch.testing.assert_close(q.detach(), build_crf(backend, SMALL)(logits, images), rtol=0, atol=0)

    log_q = q.detach().log().requires_grad_()
    by_log_q = torch.autograd.grad((log_q.exp() * log_q).sum(), log_q)[0]
    (q * q.log()).sum().backward()
    torch.testing.assert_close(logits.grad, (1 - q.detach()) * by_log_q)


def test_no_grad_disables_the_gradient() -> None:
    logits, images = textured((1, 3, 5, 6))
    with torch.no_grad():
        assert not build_crf("exact", SMALL, "exact")(logits.requires_grad_(), images).requires_grad


def test_the_cached_grid_follows_size_and_precision() -> None:
    crf = build_crf("exact", SMALL)
    for size, dtype in [((1, 3, 5, 6), torch.float32), ((1, 3, 6, 5), torch.float32), ((1, 3, 6, 5), torch.float64)]:
        logits, images = textured(size, dtype=dtype)
        torch.testing.assert_close(crf(logits, images), build_crf("exact", SMALL)(logits, images), rtol=0, atol=0)


@pytest.mark.parametrize("other", ["bilateral_weight", "gaussian_weight"])
def test_neither_kernel_has_denormal_numbers(other: str) -> None:
    """Without a least exponent, an image of strong contrasts has them, and they make a CPU several times slower."""
    images = torch.randint(0, 256, (1, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    kernels = Backend(dataclasses.replace(TRAINING, **{other: 0}))._kernels(images, torch.float32)
    assert kernels.min() > torch.finfo(torch.float32).tiny


def test_autocast_does_not_lower_the_precision() -> None:
    logits, images = textured((1, 5, 12, 10))
    with torch.autocast("cpu", torch.bfloat16):
        probs = build_crf("exact", TRAINING)(logits, images)
    torch.testing.assert_close(probs, build_crf("exact", TRAINING)(logits, images), rtol=0, atol=0)


def test_a_large_grid_is_refused_with_what_to_do() -> None:
    side = int(MOST_PIXELS**0.5) + 1
    images = torch.zeros(1, 3, side, side, dtype=torch.uint8)
    with pytest.raises(UserError, match=rf"{side} x {side} is too large.*backend lattice"):
        build_crf("exact", TRAINING)(scores((1, 2, side, side)), images)
