"""The precision of training that a device is fast at."""

from __future__ import annotations

import torch


def resolve_precision(precision: str, accelerator: str) -> str:
    """Return what ``trainer.precision`` means on this machine.

    ``auto`` is ``bf16-mixed`` where the device multiplies in bfloat16 and ``32-true`` where that would be emulated,
    which on a CPU is several times slower; anything else is what it says.

    Args:
        precision: ``auto``, or one of Lightning's.
        accelerator: ``trainer.accelerator`` (``auto``, ``cpu``, ``gpu`` or ``mps``), or a device's type.
    """
    if precision != "auto":
        return precision
    return "bf16-mixed" if multiplies_in_bfloat16(accelerator) else "32-true"


def multiplies_in_bfloat16(accelerator: str) -> bool:
    """Whether the device of ``accelerator`` has instructions for it."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if accelerator == "cpu" or (accelerator == "auto" and not torch.backends.mps.is_available()):
        return torch.cpu._is_avx512_bf16_supported()
    return False
