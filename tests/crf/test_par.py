"""Pixel-adaptive refinement."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from secseg.crf import CRFParams, build_crf
from tests.reference import crf as reference


def example(size: tuple[int, int] = (9, 7)) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, *size, generator=generator, dtype=torch.float64)
    return scores, torch.randint(0, 256, (2, 3, *size), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize(("xy", "distances"), [(80.0, [1, 2, 4, 8, 12, 24]), (80 / 12, [1, 2]), (10.0, [1, 2, 3])])
def test_the_result_is_that_of_the_plain_version(xy: float, distances: list[int]) -> None:
    scores, images = example()
    got = build_crf("par", CRFParams(bilateral_xy=xy, iterations=3))(scores, images)
    for b in range(2):
        expected = reference.pixel_adaptive_refinement(scores[b].numpy(), images[b].numpy(), distances, 3)
        np.testing.assert_allclose(got[b].numpy(), expected, atol=1e-12)


def test_a_mask_follows_the_edge_of_the_image() -> None:
    images = torch.zeros(1, 3, 20, 20, dtype=torch.uint8)
    images[..., 10:] = 200
    scores = torch.zeros(1, 2, 20, 20)
    scores[:, 0], scores[:, 1, :, 9:] = 4, 8  # one column too wide
    got = build_crf("par", CRFParams(bilateral_xy=7))(scores, images)[0, 1]
    assert got[:, :10].max() < 0.2 < got[:, 10:].min()


def test_the_exact_gradient_is_that_of_finite_differences() -> None:
    scores, images = example((4, 3))
    par = build_crf("par", CRFParams(bilateral_xy=10, iterations=2), "exact")
    assert torch.autograd.gradcheck(lambda z: par(z, images), scores.requires_grad_())
    assert not build_crf("par", CRFParams())(scores, images).requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_constant_image_and_extreme_scores_give_probabilities(dtype: torch.dtype) -> None:
    scores = (1e4 * example()[0]).to(dtype)
    got = build_crf("par", CRFParams())(scores, torch.full((2, 3, 9, 7), 7, dtype=torch.uint8))
    assert got.dtype == torch.float32
    assert build_crf("par", CRFParams())(*example()).dtype == torch.float64
    torch.testing.assert_close(got.sum(1), torch.ones(2, 9, 7))
