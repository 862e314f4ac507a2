"""What every segmentation head has, and DeepLab's LargeFOV head."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secseg.models.cpu import Dropout
from secseg.models.trunk import concat_levels, on_finest_grid
from secseg.utils.checks import check_number, check_whole, refuse
from secseg.utils.errors import UserError


class Head(nn.Module):
    """A segmentation head, which maps feature levels to scores.

    The constructor of a head takes ``in_channels`` (of all levels together), ``num_classes`` (background included) and
    its own options. The attribute ``classifier`` is the last layer, which has its own learning rate
    (``optim.classifier_lr``).
    """

    classifier: nn.Module

    def forward(self, *levels: Tensor) -> Tensor:
        """Return the scores (B, C, h, w) of feature levels (B, c, h, w), on the grid of the finest level."""
        raise NotImplementedError


class LargeFOVHead(Head):
    """DeepLab's head: fc6 (3x3, dilated), ReLU, dropout, fc7 (1x1), ReLU, dropout, fc8 (1x1).

    Feature levels are resized to the finest one's grid, with aligned corners, and concatenated. fc8 is called
    ``classifier``. Its weights are initialised with standard deviation 0.01 (not variance), its bias with 0.

    Args:
        width: channels of fc6 and fc7; 1024 in the paper.
        dilation: of fc6; 12 in the paper, for a grid of 41 x 41.
        dropout: probability that an element (not a channel) is dropped.
        reduce: channels of a 1x1 convolution with ReLU before fc6, which makes fc6 cheap; None for none, as in the
            paper.

    Raises:
        UserError: for fewer than 2 classes, or settings out of range.

    Source: official prototxt of SEC, layers fc6 to fc8.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        width: int = 1024,
        dilation: int = 12,
        dropout: float = 0.5,
        reduce: int | None = None,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise UserError(f"A network needs at least 2 classes, background included, not {num_classes}.")
        problems = [
            *check_whole("backbone.head.width", width, 1),
            *check_whole("backbone.head.dilation", dilation, 1),
            *check_whole("backbone.head.reduce", reduce, 1, null=True),
            *check_number("backbone.head.dropout", dropout, 0, most=1),
        ]
        refuse(problems)
        if reduce is None:
            self.reduce: nn.Module = nn.Identity()
        else:
            self.reduce = nn.Sequential(nn.Conv2d(in_channels, reduce, 1), nn.ReLU(inplace=True))
            in_channels = reduce
        self.fc6 = nn.Conv2d(in_channels, width, 3, padding=dilation, dilation=dilation)
        self.fc7 = nn.Conv2d(width, width, 1)
        self.classifier = nn.Conv2d(width, num_classes, 1)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = Dropout(dropout)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)  # type: ignore[arg-type]

    def forward(self, *levels: Tensor) -> Tensor:
        x = self.dropout(self.relu(self.fc6(self.reduced(levels))))
        x = self.dropout(self.relu(self.fc7(x)))
        return self.classifier(x)

    def reduced(self, levels: Sequence[Tensor]) -> Tensor:
        """Return the input of fc6 (B, channels, h, w).

        A 1x1 convolution and linear resizing commute. Each level is therefore reduced on its own grid: a coarse level
        has fewer cells, and fewer channels are resized.
        """
        if isinstance(self.reduce, nn.Identity):
            return concat_levels(levels)
        conv = self.reduce[0]  # type: ignore[index]
        weights = conv.weight.split([level.shape[1] for level in levels], 1)
        biases = [conv.bias, *[None] * (len(levels) - 1)]
        parts = on_finest_grid([F.conv2d(*part) for part in zip(levels, weights, biases, strict=True)])
        return self.relu(functools.reduce(torch.add, parts))
