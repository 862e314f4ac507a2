"""A trunk, a head, and the network that joins them."""

from secseg.networks.base import TrunkNet, trunk_fingerprint
from secseg.networks.fast import fast_copy
from secseg.networks.head import LargeFOVHead
from secseg.networks.normalization import Normalization
from secseg.networks.segmenter import SegmentationNet, build_network

__all__ = [
    "LargeFOVHead",
    "Normalization",
    "SegmentationNet",
    "TrunkNet",
    "build_network",
    "fast_copy",
    "trunk_fingerprint",
]
