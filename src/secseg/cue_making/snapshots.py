"""Earlier weights of a classifier, so that maps can be the highest values over its training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from secseg.cue_making.classifier import LocalizationNet
from secseg.models.files.model_file import write_model

FOLDER = "snapshots"


class Snapshots(pl.Callback):
    """Writes the network at evenly spaced steps of its training, the last step included.

    The same step always writes the same file, so a resumed training writes those that are missing.

    Args:
        folder: of the network; the files are in ``snapshots/`` in it.
        count: of the snapshots, at least 1; with fewer steps, one for each step.
        node: what the network is built from, as for ``write_model``.

    Source: Jiang et al., Integral Object Mining via Online Attention Accumulation, ICCV 2019, keeps the highest value
    of each pixel of each map over the training. We keep weights, because maps of all images can be computed from them.
    """

    def __init__(self, folder: Path, count: int, node: Mapping[str, Any]) -> None:
        self.folder, self.count, self.node = folder / FOLDER, count, node

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any, **__: Any) -> None:
        step, steps = trainer.global_step, int(trainer.max_steps)
        if step in {round(steps * number / self.count) for number in range(1, self.count + 1)}:
            network = pl_module.network
            assert isinstance(network, LocalizationNet)
            write_model(self.folder / f"{step:06}.safetensors", network, self.node)


def snapshot_files(folder: Path) -> list[Path]:
    """Return the snapshots of the network in ``folder``, the earliest first."""
    return sorted((folder / FOLDER).glob("*.safetensors"))
