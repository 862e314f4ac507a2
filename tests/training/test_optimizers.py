"""Parameter groups and schedules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from secseg.training.optimizers import build_optimizer, describe_groups, parameter_groups, rate_factor
from secseg.utils.errors import UserError
from tests.reference.caffe import Solver


class Net(nn.Module):
    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 21, 3), nn.BatchNorm2d(21), nn.Conv2d(21, 21, 1))
        self.last = nn.Conv2d(21, classes, 1)


SGD = {
    "optimizer": {"_target_": "torch.optim.SGD", "lr": 1e-3, "momentum": 0.9, "weight_decay": 5e-4},
    "bias_lr": 2.0,
    "bias_decay": 0.0,
    "classifier_lr": 10.0,
    "caffe_momentum": True,
    "schedule": {"kind": "step", "every": 2000, "gamma": 0.1},
}


@pytest.mark.parametrize("classes", [2, 21])
def test_the_groups_have_the_papers_multipliers_for_any_number_of_classes(classes: int) -> None:
    net = Net(classes)
    optimizer, _ = build_optimizer(net, net.last, SGD, 8000)
    rate = {id(p): (g["lr"], g["weight_decay"], g["momentum"]) for g in optimizer.param_groups for p in g["params"]}
    assert rate[id(net.body[0].weight)] == pytest.approx((1e-3, 5e-4, 0.9))
    assert rate[id(net.body[0].bias)] == pytest.approx((2e-3, 0, 0.9))
    assert rate[id(net.last.weight)] == pytest.approx((1e-2, 5e-4, 0.9))
    assert rate[id(net.last.bias)] == pytest.approx((2e-2, 0, 0.9))
    assert rate[id(net.body[1].weight)] == pytest.approx((1e-3, 0, 0.9))
    assert "(20, 0)" in describe_groups(optimizer.param_groups)


def test_every_trainable_parameter_is_in_one_group_and_frozen_parameters_are_in_none() -> None:
    net = Net()
    net.body.requires_grad_(False)
    groups = parameter_groups(net, net.last, 1e-3, 5e-4)
    assert {id(p) for g in groups for p in g["params"]} == {id(p) for p in net.last.parameters()}
    net.last.requires_grad_(False)
    with pytest.raises(UserError, match="no trainable parameter"):
        parameter_groups(net, net.last, 1e-3, 5e-4)


def test_the_rate_decays_at_each_2000th_step_but_not_at_step_0() -> None:
    net = Net()
    optimizer, schedule = build_optimizer(net, net.last, SGD, 8000)
    rates = []
    for _ in range(6001):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == rates[1999] == pytest.approx(1e-3)
    assert rates[2000] == rates[3999] == pytest.approx(1e-4)
    assert rates[6000] == pytest.approx(1e-6)


class Bowl(nn.Module):
    """A quadratic function of a weight and a bias of the trunk and of the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.last = (nn.Linear(4, 3).double() for _ in range(2))

    def loss(self) -> torch.Tensor:
        return sum(((place + 1) * p**2 + torch.cos(p)).sum() for place, p in enumerate(self.parameters()))


@pytest.mark.parametrize("fused", [None, True])
def test_twenty_steps_across_two_decays_of_the_rate_equal_those_of_caffes_solver(fused: bool | None) -> None:
    torch.manual_seed(0)
    net = Bowl()
    names = ["body.weight", "body.bias", "last.weight", "last.bias"]
    multipliers = dict(zip(names, [(1, 1), (2, 0), (10, 1), (20, 0)], strict=True))
    weights = {name: p.detach().numpy().copy() for name, p in net.named_parameters()}
    solvers = {name: Solver(1e-3, 0.9, 5e-4 * decay, 0.1, 8) for name, (_, decay) in multipliers.items()}
    settings = {**SGD, "optimizer": {**SGD["optimizer"], "fused": fused}, "schedule": {**SGD["schedule"], "every": 8}}
    optimizer, schedule = build_optimizer(net, net.last, settings, 20)
    for _ in range(20):
        optimizer.zero_grad()
        net.loss().backward()
        optimizer.step()
        schedule.step()
        for place, (name, w) in enumerate(weights.items()):
            gradient = 2 * (place + 1) * w - np.sin(w)
            weights[name] = solvers[name].step(w, gradient, multipliers[name][0])
    for name, p in net.named_parameters():
        np.testing.assert_allclose(p.detach().numpy(), weights[name], rtol=0, atol=1e-12)


def test_a_resumed_run_keeps_caffes_momentum_over_a_decay_of_the_rate() -> None:
    ends = []
    for stop in (None, 8):
        torch.manual_seed(0)
        net = Bowl()
        settings = {**SGD, "schedule": {**SGD["schedule"], "every": 8}}
        optimizer, schedule = build_optimizer(net, net.last, settings, 12)
        for step in range(12):
            if step == stop:
                saved = optimizer.state_dict(), schedule.state_dict()
                optimizer, schedule = build_optimizer(net, net.last, settings, 12)
                optimizer.load_state_dict(saved[0])
                schedule.load_state_dict(saved[1])
            optimizer.zero_grad()
            net.loss().backward()
            optimizer.step()
            schedule.step()
        ends.append([p.detach().clone() for p in net.parameters()])
    assert all(torch.equal(one, two) for one, two in zip(*ends, strict=True))


def test_poly_ends_at_zero_and_the_rate_increases_during_warm_up() -> None:
    assert rate_factor(0, 100, "poly", power=0.9) == 1
    assert rate_factor(100, 100, "poly") == 0
    assert rate_factor(50, 100, "poly", power=0.9) == pytest.approx(0.5**0.9)
    assert rate_factor(0, 100, "constant", warmup=9) == pytest.approx(0.1)
    assert rate_factor(9, 100, "constant", warmup=9) == 1
