"""Weakly supervised semantic segmentation with SEC: Seed, Expand and Constrain (Kolesnikov and Lampert, ECCV 2016).

The packages, in the order in which data passes through them:

- ``cli``: the commands, which read the config and call the other packages
- ``data``: splits, images, labels, cues, samples, batches
- ``cue_making``: localization cues from image-level labels
- ``models``: trunk, head, and the segmentation network that joins them
- ``losses``: the terms of the loss and their weighted sum
- ``crf``: the fully connected CRF, for the loss and for predictions
- ``training``: the run that trains the network, with its checkpoints and callbacks
- ``inference``: masks at the size of the image
- ``evaluation``: metrics of masks, and reports that compare runs
- ``drawing``: pictures, charts and HTML pages
- ``runs``: the run folder and the loggers
- ``utils``: what several packages use
"""

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
        plugins: packages that the network's trunk and head may come from, in addition to secseg. Their code is run.
    """
    from secseg.models.files.load import load_network  # torch is imported only by what needs it
    from secseg.utils.config import using_plugins

    with using_plugins(plugins):
        return load_network(path)
