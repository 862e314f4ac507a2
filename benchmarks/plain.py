"""SEC's training step in plain PyTorch, as the public ports write it: the reference for the time of whole steps.

Tensors are contiguous, the CRF is pydensecrf, called for one image after the other, and the loss is written out. With
``CaffeSolver`` and BGR in the CRF, it is also a transcription of the official training (``benchmarks/parity.py``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import timm
import torch
from pydensecrf import densecrf
from torch import Tensor, nn

VGG = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "S")
DECAYS = {"pos": 0.996, "bg": 0.999}


class PlainVGG(nn.Sequential):
    """DeepLab-CRF-LargeFOV on VGG-16, with random weights: images (B, 3, 321, 321) to scores (B, C, 41, 41)."""

    def __init__(self, classes: int) -> None:
        layers: list[nn.Module] = []
        channels = 3
        for width in VGG:
            if isinstance(width, int):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            else:
                layers.append(nn.MaxPool2d(3, 2 if width == "M" else 1, 1))
        for _ in range(3):
            layers += [nn.Conv2d(512, 512, 3, padding=2, dilation=2), nn.ReLU(inplace=True)]
        layers += [nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1)]
        super().__init__(*layers, *head(512, classes))


class PlainResNet(nn.Module):
    """ResNet-50 at output stride 8 with the same head, with random weights."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.trunk = timm.create_model("resnet50", output_stride=8, num_classes=0, global_pool="")
        self.head = nn.Sequential(*head(2048, classes))

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(self.trunk(images))
        return scores


def head(channels: int, classes: int) -> list[nn.Module]:
    """Return fc6, fc7 and fc8."""
    fc6, fc7 = nn.Conv2d(channels, 1024, 3, padding=12, dilation=12), nn.Conv2d(1024, 1024, 1)
    fc8 = nn.Conv2d(1024, classes, 1)
    nn.init.normal_(fc8.weight, 0, 0.01)
    return [fc6, nn.ReLU(inplace=True), nn.Dropout(), fc7, nn.ReLU(inplace=True), nn.Dropout(), fc8]


class CaffeSolver:
    """Caffe's SGD solver with the official multipliers: ``h <- 0.9 h + rate (gradient + decay w)``, ``w <- w - h``.

    Args:
        network: its last layer has ten times the rate.
        every: steps between two decays of the rate.
    """

    def __init__(self, network: nn.Sequential, every: int) -> None:
        self.parameters, last = list(network.parameters()), {id(parameter) for parameter in network[-1].parameters()}
        self.history = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.multipliers = [
            ((1.0 if parameter.ndim > 1 else 2.0) * (10 if id(parameter) in last else 1), float(parameter.ndim > 1))
            for parameter in self.parameters
        ]
        self.every, self.iteration = every, 0

    def zero_grad(self) -> None:
        """Forget the gradients of the last step."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Change the parameters by their gradients."""
        rate = 1e-3 * 0.1 ** (self.iteration // self.every)
        for parameter, history, (faster, decay) in zip(self.parameters, self.history, self.multipliers, strict=True):
            assert parameter.grad is not None
            history.mul_(0.9).add_(rate * faster * (parameter.grad + 5e-4 * decay * parameter))
            parameter.sub_(history)
        self.iteration += 1


class PlainStep:
    """A training step on one batch: forward, CRF, loss, backward, the optimiser's step.

    Args:
        network: scores of normalised images.
        batch: ``image`` (B, 3, S, S) uint8, ``cues`` (B, C, h, w) and ``labels`` (B, C), on the CPU.
        optimizer: PyTorch's SGD if None.
    """

    def __init__(self, network: nn.Module, batch: dict[str, Any], optimizer: CaffeSolver | None = None) -> None:
        self.network, self.batch = network.train(), batch
        self.optimizer = optimizer or torch.optim.SGD(network.parameters(), 1e-3, 0.9, weight_decay=5e-4)
        self.loss = torch.tensor(0.0)

    def __call__(self) -> None:
        image, cues, labels = (self.batch[name].float() for name in ("image", "cues", "labels"))
        scores = self.network(image.flip(1) - torch.tensor([104.0, 117.0, 123.0]).view(1, 3, 1, 1))
        probs = torch.softmax(scores, 1) + 1e-4
        probs = probs / probs.sum(1, keepdim=True)
        small = np.ascontiguousarray(image.flip(1)[:, :, ::8, ::8].permute(0, 2, 3, 1).numpy().astype(np.uint8))
        refined = np.stack([crf(*pair) for pair in zip(scores.detach().numpy(), small, strict=True)])
        q = torch.from_numpy(refined).clamp(min=1e-4)
        q = q / q.sum(1, keepdim=True)
        loss = seed(probs, cues) + expand(probs, labels) + (q * (q.log() - probs.log())).sum(1).mean()
        self.loss = loss.detach()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def seed(probs: Tensor, cues: Tensor) -> Tensor:
    """Return the seed term."""
    return (-(cues * probs.log()).sum((1, 2, 3)) / cues.sum((1, 2, 3)).clamp(min=1)).mean()


def expand(probs: Tensor, labels: Tensor) -> Tensor:
    """Return the expansion term."""
    ordered = probs.flatten(2).sort(2, descending=True).values
    ranks = torch.arange(ordered.shape[2], dtype=torch.float32)
    weights = {name: decay**ranks / (decay**ranks).sum() for name, decay in DECAYS.items()}
    present, absent = labels[:, 1:], 1 - labels[:, 1:]
    own, top = (ordered[:, 1:] * weights["pos"]).sum(2), ordered[:, 1:, 0]
    background = (ordered[:, 0] * weights["bg"]).sum(1)
    terms = (present * own.log()).sum(1) / present.sum(1).clamp(min=1)
    terms = terms + (absent * (1 - top).log()).sum(1) / absent.sum(1).clamp(min=1) + background.log()
    return -terms.mean()


def crf(scores: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return the probabilities (C, h, w) of pydensecrf with the paper's training widths."""
    classes, height, width = scores.shape
    field = densecrf.DenseCRF2D(width, height, classes)
    field.setUnaryEnergy(np.ascontiguousarray(-scores.reshape(classes, -1)))
    field.addPairwiseGaussian(sxy=3 / 12, compat=3)
    field.addPairwiseBilateral(sxy=80 / 12, srgb=13, rgbim=image, compat=10)
    return np.array(field.inference(10), np.float32).reshape(scores.shape)
