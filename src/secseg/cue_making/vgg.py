"""The trunks of the paper's two localization networks: VGG-16 with three and with five pools.

The networks are the nodes ``foreground`` and ``background`` of ``conf/localization/paper.yaml``; their heads are
``ActivationMapHead`` and ``FullyConnectedHead`` with the defaults.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from secseg.models.normalization import Normalization
from secseg.models.vgg import NORMALIZATIONS, VGG16

# The mean that these two networks subtract, finer than the segmentation network's.
CAFFE_MEAN = Normalization((104.008, 116.669, 122.675), (1.0, 1.0, 1.0), "bgr")


class _PooledVGG16(VGG16):
    normalizations: Mapping[str, Normalization] = {**NORMALIZATIONS, "caffe": CAFFE_MEAN}
    pools: int

    def __init__(self, weights: str | None = "imagenet", normalization: str | None = None, load: bool = True) -> None:
        # Caffe's pools round up.
        pools = [nn.MaxPool2d(2, 2, ceil_mode=True) if stage < self.pools else None for stage in range(5)]
        super().__init__(pools, (2**self.pools,), weights=weights, normalization=normalization, load=load)


class ForegroundVGG16(_PooledVGG16):
    """VGG-16 without pool4 and pool5, no dilation: 321 to 41. Arguments as ``VGG16``."""

    pools = 3


class BackgroundVGG16(_PooledVGG16):
    """VGG-16 with all five pools: 321 to 11. Arguments as ``VGG16``."""

    pools = 5
