"""The loss for images that all show a class, and the features that it goes with."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from secseg.cue_making.heads import ActivationMapHead, with_differences
from secseg.cue_making.make_cues import has_maps
from secseg.cue_making.training import background_loss
from tests.reference import localization as reference

HEADS = "secseg.cue_making.heads"


@pytest.mark.parametrize("share", [0.01, 0.5, 0.8, 0.999])
def test_the_background_loss_is_that_of_the_reference(share: float) -> None:
    maps = np.random.default_rng(0).normal(size=(3, 4, 7, 5)) * 3
    assert float(background_loss(torch.from_numpy(maps), share)) == pytest.approx(
        reference.background_loss(maps, share)
    )


def test_the_background_loss_has_the_gradient_of_finite_differences() -> None:
    maps = torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: background_loss(x, 0.6), maps)


def test_maps_of_any_size_give_a_finite_background_loss() -> None:
    for value in (-1e4, 0.0, 1e4):
        assert torch.isfinite(background_loss(torch.full((1, 1, 1, 1), value), 0.5))


def test_the_background_loss_lowers_maps_on_the_background_alone() -> None:
    maps = torch.zeros(1, 1, 4, 4)
    maps[0, 0, 0] = 3
    maps.requires_grad_()
    background_loss(maps, 0.75).backward()
    assert (maps.grad[0, 0, 0] == 0).all()
    assert (maps.grad[0, 0, 1:] > 0).all()


def test_relative_features_are_the_same_on_a_background_of_any_value() -> None:
    features = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    shifted = features + torch.tensor([[[[7.0]], [[-2.0]], [[0.5]]]])
    both, other = with_differences(features), with_differences(shifted)
    assert torch.equal(both[:, :3], features)
    torch.testing.assert_close(both[:, 3:], other[:, 3:])
    assert both[:, 3:].flatten(2).median(2).values.abs().max() == 0


def test_a_relative_head_has_a_map_of_each_class() -> None:
    head = ActivationMapHead(4, 3, width=8, kernels=[1], relative=True, sharpness=1.0, standardize=True)
    assert head(torch.randn(2, 4, 6, 6)).shape == (2, 3)
    assert head.hidden.standardize.num_features == 8


def test_only_heads_with_maps_can_have_the_background_loss() -> None:
    assert has_maps({"_target_": f"{HEADS}.ActivationMapHead"})
    assert not has_maps({"_target_": f"{HEADS}.FullyConnectedHead"})
