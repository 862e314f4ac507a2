"""Faster networks on a CPU: dropout, gradients, dilated depthwise convolutions, and a copy for inference."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input, conv2d_weight
from torch.nn.utils.fusion import fuse_conv_bn_weights

if TYPE_CHECKING:
    from secseg.models.network import TrunkNet

Network = TypeVar("Network", bound="TrunkNet")


class Dropout(nn.Dropout):
    """``nn.Dropout`` that, on a CPU, draws its mask as random bytes, eight at a time.

    torch draws one number after the other. In a head trained on cached features, this took a fifth of the step. On a
    CPU the probability is rounded to a multiple of 1/256. The kept elements are scaled by the rounded one, so that the
    expectation is exact. On other devices this is ``nn.Dropout``.
    """

    def forward(self, input: Tensor) -> Tensor:
        dropped = round(256 * self.p)
        if not self.training or input.device.type != "cpu" or not 0 < dropped < 256:
            return super().forward(input)
        words = torch.empty(-(-input.numel() // 8), dtype=torch.int64).random_(-(2**63), None)  # all of their bits
        kept = torch.empty_like(input)  # of the input's type: products of different types are several times slower
        kept.as_strided((kept.numel(),), (1,)).copy_(words.view(torch.uint8)[: kept.numel()].ge_(dropped))
        return (input * kept).mul_(256 / (256 - dropped))


class PhasedDepthwise(nn.Conv2d):
    """A depthwise convolution of stride 1 and dilation d, computed on the CPU as undilated ones of d x d phases.

    Each output depends on one phase of the input only. The sums are the same, but libraries have no fast code for
    dilated depthwise convolutions.
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
    """Turn each dilated depthwise convolution of ``net`` that keeps the size of its input into ``PhasedDepthwise``."""
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


#: Most images in a batch for which ``TrainedConv`` changes the layout: with 15, this was slower on each machine tried.
FEW_IMAGES = 4


class TrainedConv(nn.Conv2d):
    """A convolution that, on a CPU and for few images, computes the gradient of its weight in the contiguous layout.

    Networks are channels-last. Of a wide 3x3 convolution, this layout makes the forward pass and the gradient of the
    input up to 1.7 times faster, but on some machines the gradient of the weight up to 2.2 times slower.
    ``benchmarks/whole_step.py`` times whole steps.
    """

    def forward(self, x: Tensor) -> Tensor:
        plain = x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu")
        if plain or len(x) > FEW_IMAGES or not (torch.is_grad_enabled() and self.weight.requires_grad):
            return super().forward(x)
        y: Tensor = _TwoLayouts.apply(x, self.weight, self.bias, (self.stride, self.padding, self.dilation))
        return y


class _TwoLayouts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, grid: tuple[Any, Any, Any]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.grid = grid  # stride, padding and dilation
        return F.conv2d(x, weight, bias, *grid)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        of_x, _, of_bias, _ = ctx.needs_input_grad
        return (
            conv2d_input(x.shape, weight, grad, *ctx.grid) if of_x else None,
            conv2d_weight(x.contiguous(), weight.shape, grad.contiguous(), *ctx.grid),
            grad.sum((0, 2, 3)) if of_bias else None,
            None,
        )


class PointwiseConv(nn.Conv2d):
    """A 1x1 convolution that is computed as a dilated one on the CPU. Dilation does not change a 1x1 kernel.

    On one thread, torch uses oneDNN, which is twice as fast, only for 1x1 convolutions that are dilated.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, 2, self.groups)


def with_fast_convolutions(net: nn.Module) -> None:
    """Turn dense convolutions of ``net`` into ``PointwiseConv`` if they are 1x1, else, from 256 outputs on, into
    ``TrainedConv``."""
    for module in net.modules():
        if type(module) is not nn.Conv2d or module.padding_mode != "zeros" or isinstance(module.padding, str):
            continue
        if module.kernel_size == (1, 1):
            module.__class__ = PointwiseConv
        elif module.groups == 1 and module.out_channels >= 256:
            module.__class__ = TrainedConv


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding that copies its input only if the padding differs between the sides.

    timm's ``Conv2dSame`` copies its input in every call.
    """

    def forward(self, x: Tensor) -> Tensor:
        sides = zip(x.shape[-2:], self.kernel_size, self.stride, self.dilation, strict=True)
        rows, columns = (same_padding(*side) for side in sides)
        padding = (rows // 2, columns // 2)
        if rows % 2 or columns % 2:
            x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
            padding = (0, 0)
        return F.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


def same_padding(side: int, kernel: int, stride: int, dilation: int) -> int:
    """Return how many zeros TensorFlow's SAME adds along a side. The output then has ceil(side / stride) cells."""
    return max((-(-side // stride) - 1) * stride + (kernel - 1) * dilation + 1 - side, 0)


@torch.inference_mode(False)  # tensors made in inference mode have no version counter
@torch.no_grad()
def fast_copy(network: Network) -> Network:
    """Return a copy of ``network`` for inference, with batch normalisations folded into the convolutions before them.

    The scores differ by rounding only. The network must be on the CPU, in evaluation mode.
    """
    fast = copy.deepcopy(network)
    for conv, norm in _followed(fast):
        if type(conv) in (nn.Conv2d, PhasedDepthwise, TrainedConv, PointwiseConv) or _is_same_conv(conv):
            conv.weight, conv.bias = _folded(conv, norm)
            _replace(fast, norm, getattr(norm, "act", nn.Identity()))  # timm's normalisation includes an activation
            if _is_same_conv(conv):
                conv.__class__ = SameConv
    return fast


def _is_same_conv(conv: nn.Conv2d) -> bool:
    """Return whether ``conv`` is timm's ``Conv2dSame``, without importing timm."""
    return type(conv).__name__ == "Conv2dSame"


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[nn.Parameter, nn.Parameter]:
    statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    weight, bias = fuse_conv_bn_weights(conv.weight, conv.bias, *statistics)  # type: ignore[arg-type]
    laid_out = weight.detach().contiguous(memory_format=torch.channels_last)
    return nn.Parameter(laid_out, requires_grad=False), nn.Parameter(bias.detach(), requires_grad=False)


def _followed(network: TrunkNet) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Return the pairs of a convolution in the trunk and the batch normalisation that gets its unchanged output.

    A forward pass on meta tensors finds them. The order in which modules are registered is not that of the calls.
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
