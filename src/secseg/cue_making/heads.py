"""Heads of the localization networks: features of a trunk to one score per class and image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from secseg.losses.pooling import check_decay, global_weighted_rank_pooling, log_mean_exp_pooling
from secseg.models.cpu import Dropout
from secseg.utils.checks import check_flag, check_number, check_whole, refuse
from secseg.utils.errors import UserError


class ScoreHead(nn.Module):
    """Base class of the heads of localization networks: features (B, in, h, w) to scores (B, K).

    A subclass takes ``in_channels``, ``num_classes`` and its settings as constructor arguments. A head with class
    activation maps implements ``maps`` and ``pool``, a head without them ``forward``.

    Attributes:
        classifier: the last layer; the optimizer has a learning rate multiplier for it.
    """

    classifier: nn.Module

    def maps(self, features: Tensor) -> Tensor:
        """Return the class activation maps (B, K, h, w) of features (B, in, h, w), of any sign; without any, raise a
        UserError."""
        raise UserError(
            f"A {type(self).__name__} has no class activation maps. Use a network whose head is an ActivationMapHead."
        )

    def pool(self, maps: Tensor) -> Tensor:
        """Return the scores (..., K) of class activation maps (..., K, h, w)."""
        raise NotImplementedError

    def forward(self, features: Tensor) -> Tensor:
        return self.pool(self.maps(features))


class ActivationMapHead(ScoreHead):
    """Convolutions, a linear layer without bias to class activation maps, and pooling of each map to a score.

    Dropout follows each convolution, ReLU each but the last. With average pooling, the mean of the map
    ``sum_k w_{k,c} A_k`` is the paper's score, since pooling and linear layer can change places. With ranked pooling,
    the score is a weighted mean of the map. With log-mean-exp pooling, the cells with the highest values determine the
    score: maps are more precise and in the unit of a score, where 0 is neither for nor against the class.

    Args:
        in_channels: channels of the features.
        num_classes: K, without background, at least 1.
        width: channels of the convolutions.
        kernels: sides of the convolutions, odd; an empty list for a linear layer on the features themselves.
        last_relu: ReLU after the last convolution, too; the paper does not have it.
        standardize: first bring each channel of the features to mean 0 and variance 1 (batch statistics in training,
            running statistics afterwards): the channels of a frozen trunk differ much in scale.
        dropout: probability, element by element.
        relative: also use the difference of each channel from its median over the image. Where most of an image is
            background, the background is near 0 in these channels, whatever it looks like in this image.
        decay: of the pooling: 1 is average pooling, 0 max pooling, between them global weighted rank pooling.
        sharpness: of log-mean-exp pooling, which then replaces ranked pooling; None for ranked pooling.
        std: standard deviation of the initial weights (biases start at 0, which is our choice); None for PyTorch's
            initialisation.

    Raises:
        UserError: for settings out of range.

    Source: the defaults are the paper's foreground network.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        width: int = 1024,
        kernels: Sequence[int] = (3, 3),
        last_relu: bool = False,
        standardize: bool = False,
        dropout: float = 0.5,
        relative: bool = False,
        decay: float = 1.0,
        sharpness: float | None = None,
        std: float | None = 0.005,
    ) -> None:
        super().__init__()
        _check(num_classes, width, dropout)
        check_decay("head.decay", decay)
        if any(side < 1 or side % 2 == 0 for side in kernels):
            raise UserError(f"head.kernels={list(kernels)}: give odd sides, such as [1, 3].")
        refuse(check_number("head.sharpness", sharpness, above=0, null=True, note="null is ranked pooling"))
        refuse(check_flag("head.relative", relative))
        self.decay, self.sharpness, self.relative = decay, sharpness, relative
        in_channels *= 1 + relative
        self.hidden = nn.Sequential()
        if standardize:
            self.hidden.add_module("standardize", nn.BatchNorm2d(in_channels, affine=False))
        for number, side in enumerate(kernels, 1):
            self.hidden.add_module(f"conv{number}", nn.Conv2d(in_channels, width, side, padding=side // 2))
            if number < len(kernels) or last_relu:
                self.hidden.add_module(f"relu{number}", nn.ReLU(inplace=True))
            self.hidden.add_module(f"dropout{number}", Dropout(dropout))
            in_channels = width
        self.classifier = nn.Conv2d(in_channels, num_classes, 1, bias=False)
        _initialise(self, std)

    def maps(self, features: Tensor) -> Tensor:
        return self.classifier(self.hidden(with_differences(features) if self.relative else features))

    def pool(self, maps: Tensor) -> Tensor:
        if self.sharpness is not None:
            return log_mean_exp_pooling(maps.flatten(-2), self.sharpness)
        return global_weighted_rank_pooling(maps.flatten(-2), self.decay)


def with_differences(features: Tensor) -> Tensor:
    """Return features (B, c, h, w) and their differences from the median over h and w of each channel: (B, 2c, h, w).

    Of an even number of cells, the median is the lower one of the two in the middle.
    """
    medians = features.flatten(2).median(2).values
    return torch.cat([features, features - medians[:, :, None, None]], 1)


class FullyConnectedHead(ScoreHead):
    """fc6 over the whole grid, ReLU, dropout, fc7, ReLU, dropout, fc8; without class activation maps.

    The layers are convolutions, and the kernel of fc6 has the side of the grid. On a larger grid (of a larger image),
    the layers are applied at each position, and the scores are averaged.

    Args:
        size: side of the trunk's grid; 11 for images of 321 after five pools.
        width: channels of fc6 and fc7.
        in_channels, num_classes, dropout, std: as for ``ActivationMapHead``.

    Raises:
        UserError: for settings out of range.

    Source: the defaults are the paper's background network.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        size: int = 11,
        width: int = 1024,
        dropout: float = 0.5,
        std: float | None = 0.005,
    ) -> None:
        super().__init__()
        _check(num_classes, min(width, size), dropout)
        self.fc6 = nn.Conv2d(in_channels, width, size)
        self.fc7 = nn.Conv2d(width, width, 1)
        self.classifier = nn.Conv2d(width, num_classes, 1)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = Dropout(dropout)
        _initialise(self, std)

    def forward(self, features: Tensor) -> Tensor:
        """Return scores (B, K). A grid smaller than fc6 raises a UserError."""
        (height, width), (size, _) = features.shape[-2:], self.fc6.kernel_size
        if min(height, width) < size:
            raise UserError(
                f"The fully connected layers need a grid of {size} x {size}, and these images give one of "
                f"{height} x {width}: give head.size={min(height, width)}, or larger images."
            )
        x = self.dropout(self.relu(self.fc6(features)))
        x = self.dropout(self.relu(self.fc7(x)))
        return self.classifier(x).mean((2, 3))


def _check(num_classes: int, width: int, dropout: float) -> None:
    if num_classes < 1:
        raise UserError("A localization network needs at least 1 class in addition to the background.")
    refuse([*check_whole("head.width", width, 1), *check_number("head.dropout", dropout, 0, most=1)])


def _initialise(head: nn.Module, std: float | None) -> None:
    refuse(check_number("head.std", std, above=0, null=True))
    if std is None:
        return
    for name, parameter in head.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.normal_(parameter, std=std)
