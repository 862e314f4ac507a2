"""What a run shows: progress, scores, pictures and curves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback

from secseg.training.callbacks.pictures import Curves, Pictures
from secseg.training.callbacks.predictions import Predictions
from secseg.training.callbacks.progress import Progress, SpeedMonitor
from secseg.training.callbacks.scores import ScoreTable
from secseg.utils.errors import UserError, nearest

__all__ = ["Curves", "Pictures", "Predictions", "Progress", "ScoreTable", "SpeedMonitor", "build_callbacks"]


def build_callbacks(config: Mapping[str, Any], folder: Path) -> list[Callback]:
    """Return the callbacks of ``config``, a dict of options by name; a callback whose options are ``None``
    is left out.

    ``progress: {every_seconds}``, ``scores: {}``, ``pictures: {}``, ``curves: {}``, ``predictions: {}``. The
    checkpoints are not among them: a run is never without.

    Raises:
        UserError: for an unknown callback or option.
    """
    kinds = {
        "progress": Progress,
        "scores": ScoreTable,
        "pictures": Pictures,
        "curves": Curves,
        "predictions": Predictions,
    }
    callbacks: list[Callback] = [SpeedMonitor()]
    for kind, options in config.items():
        if kind not in kinds:
            raise UserError(f"Unknown callback '{kind}'.{nearest(kind, kinds)} There are {', '.join(kinds)}.")
        if options is None:
            continue
        folders = {"folder": folder} if kind in ("pictures", "curves", "predictions") else {}
        try:
            callbacks.append(kinds[kind](**folders, **options))
        except TypeError as error:
            raise UserError(f"callbacks.{kind}: {error}") from error
    return callbacks
