"""Optimizers: parameter groups with multipliers, and the learning rate schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from secseg.utils.config import build
from secseg.utils.console import table
from secseg.utils.errors import UserError


def parameter_groups(
    network: nn.Module,
    classifier: nn.Module,
    lr: float,
    weight_decay: float,
    bias_lr: float = 2.0,
    bias_decay: float = 0.0,
    classifier_lr: float = 10.0,
) -> list[dict[str, Any]]:
    """Return parameter groups of the trainable parameters, each with its learning rate and weight decay.

    Biases have ``bias_lr`` times the learning rate and ``bias_decay`` times the weight decay. Parameters of
    ``classifier`` have ``classifier_lr`` times the learning rate of the others, its biases both multipliers. Scales of
    normalisation layers have no weight decay.

    Source of the defaults: the multipliers in the official prototxt, (1, 1), (2, 0), (10, 1), (20, 0).
    """
    last = {id(parameter) for parameter in classifier.parameters()}
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        bias = name.endswith("bias")
        kind = "biases" if bias else "weights" if parameter.ndim > 1 else "norm scales"
        rate, decay = (bias_lr, bias_decay) if bias else (1.0, 1.0 if parameter.ndim > 1 else 0.0)
        if id(parameter) in last:
            kind, rate = f"classifier {kind}", rate * classifier_lr
        group = groups.setdefault(
            kind,
            {
                "name": kind,
                "lr": lr * rate,
                "weight_decay": weight_decay * decay,
                "multipliers": [rate, decay],
                "params": [],
            },
        )
        group["params"].append(parameter)
    if not groups:
        raise UserError("The network has no trainable parameter, so there is nothing to train.")
    return list(groups.values())


def describe_groups(groups: list[dict[str, Any]]) -> str:
    """Return a table of the groups: number of parameters, learning rate, weight decay and multipliers."""
    rows = [["parameter group", "parameters", "rate", "decay", "multipliers"]]
    for group in groups:
        count = sum(parameter.numel() for parameter in group["params"])
        rate, decay = group["multipliers"]
        multipliers = f"({rate:g}, {decay:g})"
        rows.append([group["name"], f"{count:,}", f"{group['lr']:.2g}", f"{group['weight_decay']:.2g}", multipliers])
    return table(rows)


def build_optimizer(
    network: nn.Module, classifier: nn.Module, optim: Mapping[str, Any], steps: int
) -> tuple[Optimizer, LambdaLR]:
    """Return the optimizer and its learning rate schedule, which takes a step after each training step.

    Args:
        network: the network to train.
        classifier: its last layer.
        optim: ``optimizer`` (a ``torch.optim`` node with ``lr``), ``bias_lr``, ``bias_decay``, ``classifier_lr``,
            ``caffe_momentum`` and ``schedule`` (``kind``, ``every``, ``gamma``, ``power``, ``warmup``).
        steps: number of steps of the run.
    """
    node = dict(optim["optimizer"])
    if node.get("fused") is None:
        node.pop("fused", None)  # some optimizers do not have it
    groups = parameter_groups(
        network,
        classifier,
        node["lr"],
        node.pop("weight_decay", 0.0),
        optim["bias_lr"],
        optim["bias_decay"],
        optim["classifier_lr"],
    )
    optimizer = build(node, Optimizer, "optim.optimizer", params=groups)
    if optim["caffe_momentum"]:
        optimizer.register_step_pre_hook(keep_momentum)
    schedule = optim["schedule"]
    return optimizer, LambdaLR(optimizer, lambda step: rate_factor(step, steps, **schedule))


def keep_momentum(optimizer: Optimizer, *_: Any) -> None:
    """Let the momentum keep its length when the learning rate changes, as in Caffe; runs before each step.

    Caffe's history holds the rate times the gradient, PyTorch's buffer the gradient alone. So the buffers are
    multiplied by the old rate over the new one. After a decay, about ten steps still move at the old rate.
    """
    for group in optimizer.param_groups:
        old = group.setdefault("momentum_lr", group["lr"])
        if old == group["lr"] or group["lr"] == 0:
            continue
        for parameter in group["params"]:
            if (buffer := optimizer.state[parameter].get("momentum_buffer")) is not None:
                buffer.mul_(old / group["lr"])
        group["momentum_lr"] = group["lr"]


def rate_factor(
    step: int,
    steps: int,
    kind: str,
    every: int = 2000,
    gamma: float = 0.1,
    power: float = 0.9,
    warmup: int = 0,
) -> float:
    """Return the factor of the learning rate at ``step`` (from 0) of ``steps``.

    ``step``: ``gamma^floor(step / every)``, so the first decay is at step ``every``, not at 0.
    ``poly``: ``(1 - step / steps)^power``. ``constant``: 1. It increases linearly in the first ``warmup`` steps.
    """
    rise = min(1.0, (step + 1) / (warmup + 1))
    if kind == "step":
        return rise * gamma ** (step // every)
    if kind == "poly":
        return rise * max(0.0, 1 - step / steps) ** power
    return rise
