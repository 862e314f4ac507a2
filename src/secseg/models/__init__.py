"""A trunk, a head, and the network that joins them."""

from secseg.models.cpu.inference_copy import fast_copy
from secseg.models.head import LargeFOVHead
from secseg.models.normalization import Normalization
from secseg.models.segmentation import SegmentationNet, build_network
from secseg.models.trunk import TrunkNet, trunk_fingerprint

__all__ = [
    "LargeFOVHead",
    "Normalization",
    "SegmentationNet",
    "TrunkNet",
    "build_network",
    "fast_copy",
    "trunk_fingerprint",
]
