"""A copy of a network for inference on a CPU: the same function, with fewer passes over memory."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from secseg.models.cpu.depthwise import PhasedDepthwise
from secseg.models.trunk import TrunkNet

Network = TypeVar("Network", bound=TrunkNet)

#: Activations that oneDNN applies while it writes a convolution's output.
ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.Identity: ("none", []),
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    nn.SiLU: ("swish", []),
}


class FusedConv(nn.Module):
    """A convolution with the normalisation and the activation that follow it, in one pass over its output.

    TensorFlow's SAME padding, which timm adds by a padded copy at each call, is the convolution's own padding where it
    is the same on both sides. Under autocast it is torch's convolution, then the activation.

    Args:
        conv: a convolution with zeros as padding.
        norm: batch normalisation, in evaluation mode; timm's kind brings its activation along.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.weight, self.bias = _folded(conv, norm)
        self.same, self.groups = _pads_at_each_call(conv), conv.groups
        self.kernel, self.padding, self.stride, self.dilation = (
            conv.kernel_size,
            conv.padding,
            conv.stride,
            conv.dilation,
        )
        self.act: nn.Module = getattr(norm, "act", nn.Identity())
        self.fused = ACTIVATIONS.get(type(self.act)) if torch.backends.mkldnn.is_available() else None

    def forward(self, x: Tensor) -> Tensor:
        padding: Any = self.padding
        if self.same:
            sides = zip(x.shape[-2:], self.kernel, self.stride, self.dilation, strict=True)
            rows, columns = (same_padding(*side) for side in sides)
            padding = (rows // 2, columns // 2)
            if rows % 2 or columns % 2:
                x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
                padding = (0, 0)
        if self.fused is None or torch.is_autocast_enabled("cpu"):
            return self.act(F.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups))
        settings = padding, self.stride, self.dilation, self.groups
        return torch.ops.mkldnn._convolution_pointwise(x, self.weight, self.bias, *settings, *self.fused, "")


@torch.inference_mode(False)  # whose tensors do not tell that they were changed in place
@torch.no_grad()
def fast_copy(network: Network) -> Network:
    """Return a copy of ``network`` for inference, whose trunk's convolutions do the work of their normalisations.

    Its scores differ by rounding alone. The network must be on the CPU, in evaluation mode.
    """
    fast = copy.deepcopy(network)
    for conv, norm in _followed(fast):
        if type(conv) is nn.Conv2d or _pads_at_each_call(conv):
            _replace(fast, conv, FusedConv(conv, norm))
            _replace(fast, norm, nn.Identity())
        elif type(conv) is PhasedDepthwise:
            conv.weight, conv.bias = _folded(conv, norm)
            _replace(fast, norm, getattr(norm, "act", nn.Identity()))
    return fast


def same_padding(side: int, kernel: int, stride: int, dilation: int) -> int:
    """Return the zeros that TensorFlow's SAME adds along a side: so many that ceil(side / stride) outputs come."""
    return max((-(-side // stride) - 1) * stride + (kernel - 1) * dilation + 1 - side, 0)


def _pads_at_each_call(conv: nn.Conv2d) -> bool:
    """Whether it is timm's kind that pads its input as TensorFlow's SAME does; timm need not be imported to know."""
    return type(conv).__name__ == "Conv2dSame"


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[nn.Parameter, nn.Parameter]:
    statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    weight, bias = fuse_conv_bn_weights(conv.weight, conv.bias, *statistics)  # type: ignore[arg-type]
    laid_out = weight.detach().contiguous(memory_format=torch.channels_last)
    return nn.Parameter(laid_out, requires_grad=False), nn.Parameter(bias.detach(), requires_grad=False)


def _followed(network: TrunkNet) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Return each convolution of the trunk whose output goes into a batch normalisation as it is, with that.

    Found by a pass without data: in what order modules are registered does not tell what follows what.
    """
    shapes = copy.deepcopy(network.trunk).to("meta")
    real = dict(network.trunk.named_modules())
    made: list[tuple[Tensor, nn.Conv2d]] = []
    found: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def watch(module: nn.Module, original: nn.Module) -> None:
        if isinstance(original, nn.Conv2d) and original.padding_mode == "zeros":
            module.register_forward_hook(lambda _, __, output: made.append((output, original)))
        elif isinstance(original, nn.BatchNorm2d) and original.track_running_stats and original.affine:
            module.register_forward_pre_hook(lambda _, given: look(given[0], original))

    def look(given: Tensor, norm: nn.BatchNorm2d) -> None:
        found.extend((conv, norm) for output, conv in made if output is given and output._version == 0)

    for name, module in shapes.named_modules():
        watch(module, real[name])
    shapes(torch.empty(1, 3, network.input_size, network.input_size, device="meta"))
    once = [part for pair in found for part in pair]
    return [pair for pair in found if once.count(pair[0]) == once.count(pair[1]) == 1]


def _replace(network: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for parent in network.modules():
        for name, child in parent.named_children():
            if child is old:
                setattr(parent, name, new)
