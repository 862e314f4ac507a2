"""A trunk, a head, and the network that joins them."""

from secseg.networks.head import LargeFOVHead
from secseg.networks.normalization import Normalization
from secseg.networks.segmenter import SegmentationNet, build_network, trunk_fingerprint

__all__ = ["LargeFOVHead", "Normalization", "SegmentationNet", "build_network", "trunk_fingerprint"]
