"""Dilated depthwise convolutions, made fast on the CPU."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class PhasedDepthwise(nn.Conv2d):
    """A depthwise convolution of stride 1 and dilation d that is computed, on the CPU, as an undilated one of the d x d
    phases of its input: each output sees one phase only. The same sums, without the slow path that libraries take for
    dilated depthwise kernels.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        rows, columns = self.dilation
        padding = [side // d for side, d in zip(self.padding, self.dilation, strict=True)]  # type: ignore[operator]
        batch, channels, height, width = x.shape
        x = F.pad(x, (0, -width % columns, 0, -height % rows))
        x = x.view(batch, channels, x.shape[2] // rows, rows, x.shape[3] // columns, columns)
        _, _, h, _, w, _ = x.shape
        phases = x.permute(3, 5, 0, 2, 4, 1).reshape(rows * columns * batch, h, w, channels).permute(0, 3, 1, 2)
        y = F.conv2d(phases, self.weight, self.bias, 1, padding, 1, self.groups)
        y = y.permute(0, 2, 3, 1).reshape(rows, columns, batch, h, w, channels)
        y = y.permute(2, 3, 0, 4, 1, 5).reshape(batch, h * rows, w * columns, channels).permute(0, 3, 1, 2)
        return y[:, :, :height, :width]


def in_phases(net: nn.Module) -> None:
    """Turn each dilated depthwise convolution of ``net`` that keeps its input's size into a ``PhasedDepthwise``."""
    for module in net.modules():
        if (
            type(module) is nn.Conv2d
            and module.groups == module.in_channels == module.out_channels > 1
            and module.stride == (1, 1)
            and max(module.dilation) > 1
            and module.padding_mode == "zeros"
            and module.padding
            == tuple(d * (k - 1) // 2 for d, k in zip(module.dilation, module.kernel_size, strict=True))
            and all(k % 2 for k in module.kernel_size)
        ):
            module.__class__ = PhasedDepthwise
