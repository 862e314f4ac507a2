"""Weakly supervised semantic segmentation with SEC: Seed, Expand and Constrain (Kolesnikov and Lampert, ECCV 2016)."""

__version__ = "0.1.0"
