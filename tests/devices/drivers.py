"""What a fake device replaces: calls of the driver, and functions that do not support fake tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import lightning_fabric.accelerators.cuda
import lightning_fabric.accelerators.mps
import pytorch_lightning.accelerators.cuda
import pytorch_lightning.accelerators.mps
import torch
from torch import Tensor

from secseg.inference import full_size
from tests.devices import gradients


def replaced(kind: str, wait: Callable[[str], None]) -> Iterator[AbstractContextManager[Any]]:
    """Yield the replacements.

    Args:
        kind: ``cuda`` or ``mps``; the machine has one such device.
        wait: is called where the host would wait for the device, with the name of the function.
    """
    event = mock.Mock(synchronize=lambda: wait("Event.synchronize"), elapsed_time=lambda end: 1.0)
    stream = mock.Mock(synchronize=lambda: wait("Stream.synchronize"))
    values = {
        "Event": event,
        "current_stream": stream,
        "is_bf16_supported": True,
        "device_count": int(kind == "cuda"),
        "is_available": False,  # else torch would start the driver for its fake tensors
        "get_device_name": "a fake device",
    }
    for name, value in values.items():
        yield mock.patch.object(torch.cuda, name, return_value=value)
    yield mock.patch.object(torch.backends.mps, "is_available", return_value=kind == "mps")
    for name in ("set_device", "empty_cache"):
        yield mock.patch.object(torch.cuda, name)
    yield mock.patch.object(torch.cuda.amp.common, "amp_definitely_not_available", return_value=False)
    for cuda in (lightning_fabric.accelerators.cuda, pytorch_lightning.accelerators.cuda):
        yield mock.patch.object(cuda, "num_cuda_devices", return_value=int(kind == "cuda"))
        yield mock.patch.object(cuda, "_check_cuda_matmul_precision")
    for mps in (lightning_fabric.accelerators.mps, pytorch_lightning.accelerators.mps):
        yield mock.patch.object(mps.MPSAccelerator, "is_available", return_value=kind == "mps")
    yield mock.patch.object(torch.nn.Module, "_apply", move)
    yield mock.patch.object(Tensor, "backward", gradients.backward)
    yield mock.patch.object(torch.autograd, "grad", gradients.grad)
    yield mock.patch.object(full_size, "ThreadPoolExecutor", SameThread)


def move(module: Any, function: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
    """Do what ``Module._apply`` does. That function cannot move fake tensors which something else refers to."""
    for part in module.modules() if recurse else (module,):
        with torch.no_grad():
            for name, value in part._parameters.items():
                if value is not None:
                    part._parameters[name] = torch.nn.Parameter(function(value), value.requires_grad)
            for name, value in part._buffers.items():
                part._buffers[name] = None if value is None else function(value)
    return module


class SameThread(Executor):
    """A pool without threads: fake tensors exist in one thread only."""

    def __init__(self, *_: Any) -> None:
        pass

    def map(self, function: Callable[..., Any], *values: Iterable[Any], **_: Any) -> Iterator[Any]:
        return map(function, *values)
