"""A file of VGG-16 weights with torchvision's names. It is small, since its large tensors repeat one value."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.models.vgg import cfgs, make_layers

FULLY_CONNECTED = {"classifier.0": (4096, 25088), "classifier.3": (4096, 4096), "classifier.6": (1000, 4096)}


def vgg16_state(fill: float = 0.01) -> dict[str, Tensor]:
    """All tensors of torchvision's VGG-16, with names and shapes; convolutions are random, the others ``fill``."""
    torch.manual_seed(0)
    state = {f"features.{name}": value for name, value in make_layers(cfgs["D"], False).state_dict().items()}
    for name, (outputs, inputs) in FULLY_CONNECTED.items():
        state[f"{name}.weight"] = torch.full((1, 1), fill).expand(outputs, inputs)
        state[f"{name}.bias"] = torch.full((1,), fill).expand(outputs)
    return state


@pytest.fixture(scope="session")
def vgg16_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    torch.save(vgg16_state(), path)
    return path
