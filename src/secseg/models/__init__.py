"""A trunk, a head, and the network that joins them."""

from secseg.models.cpu import fast_copy
from secseg.models.head import Head, LargeFOVHead
from secseg.models.network import SegmentationNet, TrunkNet, build_network, trunk_fingerprint
from secseg.models.normalization import Normalization
from secseg.models.trunk import Trunk

__all__ = [
    "Head",
    "LargeFOVHead",
    "Normalization",
    "SegmentationNet",
    "Trunk",
    "TrunkNet",
    "build_network",
    "fast_copy",
    "trunk_fingerprint",
]
