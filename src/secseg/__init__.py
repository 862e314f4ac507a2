"""Weakly supervised semantic segmentation with SEC: Seed, Expand and Constrain (Kolesnikov and Lampert, ECCV 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from secseg.models import SegmentationNet

__version__ = "0.1.0"


def load(path: str | Path, plugins: Sequence[str] = ()) -> SegmentationNet:
    """Return the trained network of a run folder, a checkpoint or an exported folder or file, in evaluation mode, with
    ``class_names``, ``input_size`` and its own normalisation (see ``secseg.models.files.load.load_network``).

    Args:
        path: the folder or file.
        plugins: packages that the network's trunk and head may come from, besides secseg. Their code is run.
    """
    from secseg.models.files.load import load_network  # torch is imported only by what needs it
    from secseg.utils.config import using_plugins

    with using_plugins(plugins):
        return load_network(path)
