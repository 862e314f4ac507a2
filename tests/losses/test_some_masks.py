"""Some images of a batch train on their mask in place of seed, expand and constrain, the others on cues and labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from secseg.losses import SECLoss, build_terms
from tests.losses.test_terms import PAPER, REFERENCE, example
from tests.reference import losses as reference

SEC = {"seed": 1.0, "expand": 1.0, "constrain": 1.0}
WITH_MASKS = {**SEC, "supervised": 1.0}


def values(
    weights: dict[str, float], batch: dict[str, Tensor], masked: list[bool] | None = None
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the loss with its terms, and the gradient of the scores."""
    scores = batch["scores"].detach().clone().requires_grad_()
    entries = batch if masked is None else {**batch, "masked": torch.tensor(masked)}
    found = SECLoss(build_terms(weights), PAPER, lambda *_: batch["q"].to(scores.dtype))(scores, entries)
    found["loss"].backward()
    assert scores.grad is not None
    return {name: value.detach() for name, value in found.items()}, scores.grad


@pytest.mark.parametrize(
    "masked", [[True, False, False], [False, True, True], [False, False, False], [True, True, True]]
)
@pytest.mark.parametrize("seed", range(2))
def test_each_term_is_the_mean_over_its_own_images_of_the_plain_numpy_version(masked: list[bool], seed: int) -> None:
    batch = example(seed)
    f = reference.probabilities(batch["scores"].numpy())
    with_mask = np.array(masked)
    own = {"seed": ~with_mask, "expand": ~with_mask, "constrain": ~with_mask, "supervised": with_mask}
    got, _ = values(WITH_MASKS, batch, masked)
    for name, chosen in own.items():
        part = {key: value.numpy()[chosen] for key, value in batch.items()}
        expected = REFERENCE[name](f[chosen], part) if chosen.any() else 0.0
        assert got[name].item() == pytest.approx(expected, abs=1e-9), name
    assert got["loss"].item() == pytest.approx(sum(got[name].item() for name in own))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_a_mask_in_the_batch_loss_and_gradient_are_those_of_sec_bit_for_bit(dtype: torch.dtype) -> None:
    batch = example()
    batch["scores"] = batch["scores"].to(dtype)
    plain, gradient = values(SEC, batch)
    some, same = values(WITH_MASKS, batch, [False] * 3)
    assert some.pop("supervised").item() == 0
    assert all(torch.equal(plain[name], some[name]) for name in plain)
    assert torch.equal(gradient, same)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_with_a_mask_for_each_image_the_loss_is_supervised_bit_for_bit(dtype: torch.dtype) -> None:
    batch = example()
    batch["scores"] = batch["scores"].to(dtype)
    plain, gradient = values({"supervised": 1.0}, batch)
    some, same = values(WITH_MASKS, batch, [True] * 3)
    assert not any(some[name].item() for name in SEC)
    assert torch.equal(plain["loss"], some["loss"])
    assert torch.equal(gradient, same)


def test_an_image_gets_gradients_of_its_own_terms_only() -> None:
    batch = example()
    for name, without in (("seed", 0), ("expand", 0), ("constrain", 0), ("supervised", 1)):
        _, gradient = values({name: 1.0}, batch, [True, False, False])
        assert not gradient[without].any(), name
        assert gradient[1 - without].any(), name


def test_a_mask_that_is_void_everywhere_gives_zero_and_no_gradient() -> None:
    batch = example()  # the last image is void everywhere
    got, gradient = values({"supervised": 1.0}, batch, [False, False, True])
    assert got["supervised"].item() == 0
    assert not gradient.any()
