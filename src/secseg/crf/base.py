"""What all CRF backends share: the protocol, the parameters, checks of the input, the official gradient of 2016.

Reference:
    Krähenbühl and Koltun, Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials, NIPS 2011.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from secseg.utils.checks import check_number, check_whole, refuse
from secseg.utils.errors import UserError, listing


@runtime_checkable
class CRF(Protocol):
    """A callable that pulls a mask to the boundaries of the image.

    The constructor of a class that ``conf/crf`` names by ``_target_`` takes ``params`` (a :class:`CRFParams`, scaled to
    the grid), ``gradient`` and its own options.
    """

    def __call__(self, logits: Tensor, images: Tensor, /) -> Tensor:
        """Return probabilities (B, C, H, W), unfloored, on the device of the logits.

        Shape:
            logits: (B, C, H, W), floating point; images: (B, 3, H, W) uint8 RGB.
        """


@dataclass(frozen=True)
class CRFParams:
    """The two Gaussian kernels and the number of mean-field iterations; the defaults are the paper's at test time.

    Attributes:
        bilateral_weight, gaussian_weight: weights of the kernels, at least 0.
        bilateral_xy, gaussian_xy: their spatial standard deviations in pixels of the grid, above 0.
        bilateral_rgb: standard deviation of the colour in byte values, above 0.
        iterations: mean-field iterations, at least 1.

    Raises:
        UserError: for values out of range. The message lists all of them.
    """

    bilateral_weight: float = 10.0
    bilateral_xy: float = 80.0
    bilateral_rgb: float = 13.0
    gaussian_weight: float = 3.0
    gaussian_xy: float = 3.0
    iterations: int = 10

    def __post_init__(self) -> None:
        wrong = [
            *check_number("bilateral_weight", self.bilateral_weight, 0),
            *check_number("bilateral_xy", self.bilateral_xy, above=0),
            *check_number("bilateral_rgb", self.bilateral_rgb, above=0),
            *check_number("gaussian_weight", self.gaussian_weight, 0),
            *check_number("gaussian_xy", self.gaussian_xy, above=0),
            *check_whole("iterations", self.iterations, 1),
        ]
        if wrong:
            raise UserError(f"CRF parameters out of range:\n{listing(wrong)}")

    def scaled(self, factor: float) -> CRFParams:
        """Return a copy with the spatial widths divided by ``factor``.

        A grid that is 12 times coarser needs widths that are 12 times smaller.
        """
        refuse(check_number("The CRF's scale", factor, above=0, note="12 in training, 1 at test time"))
        return dataclasses.replace(self, bilateral_xy=self.bilateral_xy / factor, gaussian_xy=self.gaussian_xy / factor)


class MeanField:
    """A backend, which implements ``solve``; see :func:`secseg.crf.build_crf`."""

    def __init__(self, params: CRFParams, gradient: str = "stop") -> None:
        self.params, self.gradient = params, gradient

    def __call__(self, logits: Tensor, images: Tensor) -> Tensor:
        check_input(logits, images)
        probs = self.solve(logits, images).to(logits.device, working_dtype(logits))
        return _Diagonal.apply(logits, probs) if self.gradient == "diagonal" else probs

    def solve(self, logits: Tensor, images: Tensor) -> Tensor:
        """Return the probabilities (B, C, H, W), on any device and in any precision."""
        raise NotImplementedError


def check_input(logits: Tensor, images: Tensor) -> None:
    """Raise a UserError unless logits are (B, C, H, W) floating point and images (B, 3, H, W) uint8, on one device."""
    wrong = []
    if logits.ndim != 4 or not logits.is_floating_point() or 0 in logits.shape:
        wrong.append(f"logits must be (B, C, H, W) floating point, no side 0; got {_describe(logits)}")
    elif images.shape != (logits.shape[0], 3, *logits.shape[2:]):
        wrong.append(
            f"images must be {(logits.shape[0], 3, *logits.shape[2:])} to fit the logits; got {_describe(images)}"
        )
    if images.dtype != torch.uint8:
        wrong.append(f"images must be uint8 RGB, 0 to 255; got {images.dtype}")
    if images.device != logits.device:
        wrong.append(f"logits and images must be on one device; got {logits.device} and {images.device}")
    if wrong:
        raise UserError(f"The CRF cannot take its input:\n{listing(wrong)}")


def _describe(x: Tensor) -> str:
    return f"{tuple(x.shape)} {x.dtype}"


def working_dtype(logits: Tensor) -> torch.dtype:
    """Return float64 for float64 logits, and float32 for all others, half precision included."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


class _Diagonal(torch.autograd.Function):
    """Returns ``probs``, which are constants, with the gradient of the official code of 2016 for the logits.

    In that code the CRF returns ``log Q`` and passes ``(1 - Q) * dL/dlogQ`` to the logits: the diagonal of the
    softmax's Jacobian, as if the logits inside the softmax were the network's. Here the CRF returns Q. Since
    ``dL/dlogQ = Q * dL/dQ``, the same gradient is ``(1 - Q) * Q * dL/dQ``.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, probs: Tensor) -> Tensor:
        ctx.save_for_backward(probs)
        ctx.dtype = logits.dtype
        return probs.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (probs,) = ctx.saved_tensors
        return ((1 - probs) * probs * grads[0]).to(ctx.dtype), None
