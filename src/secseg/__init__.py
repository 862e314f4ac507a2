"""Weakly supervised semantic segmentation with SEC: Seed, Expand and Constrain (Kolesnikov and Lampert, ECCV 2016).

The packages, in the order in which data passes through them:

- ``cli``: the commands, which read the config and call the other packages
- ``data``: splits, images, labels, cues, samples, batches
- ``cue_making``: localization cues from image-level labels
- ``models``: trunk, head, and the segmentation network that joins them
- ``losses``: the terms of the loss and their weighted sum
- ``crf``: the fully connected CRF, for the loss and for predictions
- ``densecrf``: the CRF with pydensecrf's interface, without torch
- ``training``: the run that trains the network, with its checkpoints and callbacks
- ``inference``: masks at the size of the image
- ``evaluation``: metrics of masks, and reports that compare runs
- ``drawing``: pictures, charts and HTML pages
- ``runs``: the run folder and the loggers
- ``utils``: what several packages use

In Python, ``load``, ``show``, ``compose`` and ``train`` are below. What ``load`` returns has ``predict``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from omegaconf import DictConfig
    from PIL.Image import Image

    from secseg.inference.trained import Photo, TrainedNet

__version__ = "0.1.0"

# Imports stand in the functions: torch is imported only by what needs it.


def load(path: str | Path, plugins: Sequence[str] = ()) -> TrainedNet:
    """Return the trained network of a run folder, a checkpoint or an exported folder or file, in evaluation mode, on
    the CPU. It has ``predict``, ``class_names``, ``input_size`` and its own normalisation.

    Args:
        path: the folder or file (see ``secseg.models.files.load.load_network``).
        plugins: packages that the network's trunk and head, and the CRF of ``predict``, may come from, in addition to
            secseg. Their code is run.

    Raises:
        UserError: if there is no network at ``path``, or it is damaged, or of another kind.
    """
    from secseg.inference.trained import TrainedNet
    from secseg.models.files.load import load_network
    from secseg.utils.config import using_plugins

    with using_plugins(plugins):
        network = load_network(path)
    trained = TrainedNet(network.trunk, network.head, network.class_names, network.freeze, network.input_size)
    trained.plugins, trained.test_crf = plugins, network.test_crf
    return trained.eval()


def show(image: Photo, mask: np.ndarray, class_names: Sequence[str] | None = None) -> Image:
    """Return a picture of an image next to its mask, with a legend (see ``secseg.drawing.show``)."""
    from secseg.drawing.show import show

    return show(image, mask, class_names)


def compose(overrides: Sequence[str] = (), config: str = "train") -> DictConfig:
    """Return the config of a command, ``conf/<config>.yaml``, with settings as on its command line.

    ``secseg.compose(["experiment=own_images", "data.root=photos"])`` is the config of
    ``python src/train.py experiment=own_images data.root=photos``.

    Args:
        overrides: settings, each as a word of the command line. Paths are taken literally.
        config: the name of the command.

    Raises:
        UserError: for an unknown command, key or option, with the nearest known ones.
    """
    from secseg.cli.messages import explain
    from secseg.utils.checks import check_choice, refuse
    from secseg.utils.config import compose, config_dir
    from secseg.utils.errors import UserError

    refuse(check_choice("config", config, sorted(path.stem for path in config_dir().glob("*.yaml"))))
    if isinstance(overrides, str):
        raise UserError(f"overrides={overrides!r}: give a list of settings: [{overrides!r}].")
    try:
        return compose(config, *overrides)
    except Exception as error:  # of Hydra and OmegaConf
        message = explain(error, config, overrides)
        if message is None:
            raise
        raise UserError(message) from error


def train(cfg: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """Train as the command does, with a config of ``compose``. The run folder is ``run_dir``, by default
    ``runs/<name>/<time>``.

    Returns:
        ``run`` (the run folder, which ``load`` takes), ``results`` (the content of ``results.json``), and the objects
        ``module``, ``datamodule`` and ``trainer``.

    Raises:
        UserError: for every error that the user can fix.
    """
    from secseg.training.run import train
    from secseg.utils.config import to_plain, using_plugins

    config = to_plain(cfg)
    with using_plugins(config["plugins"]):
        return train(config)
