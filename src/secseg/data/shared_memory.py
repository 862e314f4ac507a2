"""The shared memory through which loader processes pass their batches. A container often has only 64 MB of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from secseg.utils.errors import UserError
from secseg.utils.text import size_text

PLACE = Path("/dev/shm")
"""Where Linux has shared memory. Other systems have no such folder, and no limit."""
WAITING = 2  # batches that a loader process keeps ready: the default of torch's DataLoader
ADVICE = (
    "Start the container with more of it (docker run --shm-size={size} ..., or --ipc=host), or give data.workers=0: "
    "the main process then loads the images."
)


def check_shared_memory(read_sample: Callable[[], Mapping[str, Any]], batch_size: int, workers: int) -> None:
    """Check that the batches of all loader processes fit into the shared memory of this machine.

    Args:
        read_sample: returns one of the samples; only its tensors are passed through shared memory. Not called if there
            are no loader processes, or if the system has no limit.
        batch_size: samples in a batch.
        workers: number of loader processes.

    Raises:
        UserError: if they do not fit. The message names the two ways to fix this.
    """
    if not workers or not PLACE.is_dir():
        return
    bytes_needed = _tensor_bytes(list(read_sample().values())) * batch_size * (WAITING * workers + 1)  # one is in use
    status = os.statvfs(PLACE)
    free = status.f_bavail * status.f_frsize
    if bytes_needed > free:
        raise UserError(
            f"The {workers} loader processes (data.workers) need {size_text(bytes_needed)} of shared memory for "
            f"batches of {batch_size} images, and {PLACE} has {size_text(free)} left. {advice(bytes_needed)}"
        )


def advice(bytes_needed: int = 0) -> str:
    """Return how to get more shared memory, or to need none."""
    return ADVICE.format(size=f"{1 + bytes_needed // 2**30}g")


def _tensor_bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    return sum(map(_tensor_bytes, value)) if isinstance(value, list) else 0
