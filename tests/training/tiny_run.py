"""The settings of a complete run on a few drawn images with a tiny trunk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

TINY = [
    "backbone=timm",
    "backbone.trunk.model=test_efficientnet",
    "backbone.trunk.weights=null",
    "backbone.head.width=16",
    "backbone.head.dilation=2",
    "backbone.input_size=65",
    "backbone.freeze=false",
    "data.batch_size=2",
    "data.workers=0",
    "data.draw_train=6",
    "data.draw_val=3",
    "trainer.max_steps=4",
    "trainer.val_check_interval=2",
    "trainer.log_every_n_steps=1",
    "trainer.accelerator=cpu",
    "callbacks.progress=null",
    "evaluation.pictures=2",
]

QUICK = ["evaluation.crf=never", "loss=seed", "callbacks.pictures=null", "callbacks.curves=null"]

Run = Callable[..., dict[str, Any]]


def weights(result: dict[str, Any]) -> dict[str, torch.Tensor]:
    return result["module"].state_dict()
