"""Tables and pictures in W&B's own types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from secseg.drawing.overlays import GalleryItem
from secseg.utils.resizing import resize_mask

CRF_SUFFIX = {"without_crf": "", "with_crf": " with CRF"}


def iou_table(ious: Mapping[str, Mapping[str, float]]) -> Any:
    """Return a ``wandb.Table`` of the IoU by class, a column a variant (``without_crf``, ``with_crf``)."""
    import wandb

    names = next(iter(ious.values()))
    rows = [[name, *(iou[name] for iou in ious.values())] for name in names]
    return wandb.Table(columns=["class", *(f"IoU{CRF_SUFFIX[variant]}" for variant in ious)], data=rows)


def confusion_table(counts: Mapping[str, np.ndarray], class_names: Sequence[str]) -> Any:
    """Return a ``wandb.Table`` of the confusion matrices of ``counts``, (C, C) by (truth, prediction) of each variant.

    A row is a true class that has pixels, a predicted class, and what share in [0, 1] of the first went to the second.
    """
    import wandb

    pixels = next(iter(counts.values())).sum(1)  # the truth is that of every variant
    rows = [
        [class_names[truth], name, *(float(of[truth, predicted] / pixels[truth]) for of in counts.values())]
        for truth in np.flatnonzero(pixels).tolist()
        for predicted, name in enumerate(class_names)
    ]
    shares = (f"share{CRF_SUFFIX[variant]}" for variant in counts)
    return wandb.Table(columns=["truth", "prediction", *shares], data=rows)


def wandb_image(item: GalleryItem, class_names: Sequence[str]) -> Any:
    """Return a ``wandb.Image`` of the photograph with each of its masks as an overlay, with class names."""
    import wandb

    masks = {
        "cues": item.cues,
        "prediction": item.prediction,
        "prediction with CRF": item.prediction_crf,
        "ground truth": item.mask,
    }
    labels = {**dict(enumerate(class_names)), 255: "none"}
    overlays = {
        name: {"mask_data": resize_mask(mask, item.photo.shape[:2]), "class_labels": labels}
        for name, mask in masks.items()
        if mask is not None
    }
    return wandb.Image(item.photo, caption=item.name, masks=overlays)
