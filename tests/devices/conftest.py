"""Faults that are planted in the package, so that each test of a device is shown to fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.devices.fake import DeviceWait, NoFloat64

Plant = Callable[[Any, str], AbstractContextManager[str]]

FAULTS: dict[str, tuple[Callable[[Tensor], Tensor], type[Exception], str, str]] = {
    "a CPU tensor": (
        lambda x: x + torch.zeros(1),
        RuntimeError,
        "different devices|on the same device",
        "cuda:0",
    ),
    "item": (lambda x: x * x.sum().item(), DeviceWait, "waits for the device: aten._local_scalar_dense", "cuda:0"),
    "a float64 constant": (
        lambda x: x + torch.ones((), dtype=torch.float64, device=x.device),
        NoFloat64,
        "makes a float64 tensor on mps:0",
        "mps:0",
    ),
}


@pytest.fixture(params=FAULTS)
def plant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Return ``plant(owner, name)``: a context in which the function's result has a fault, and an error must follow.

    The context yields the device to test on.
    """
    fault, error, message, device = FAULTS[request.param]

    @contextmanager
    def planted(owner: Any, name: str) -> Iterator[str]:
        function = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args, **kwargs: fault(function(*args, **kwargs)))
        with pytest.raises(error, match=message):
            yield device

    return planted
