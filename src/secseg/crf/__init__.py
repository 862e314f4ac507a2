"""The fully connected CRF that pulls a mask to the boundaries of the photograph: three backends, one protocol."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from secseg.crf.base import CRF, CRFParams
from secseg.utils.errors import UserError, nearest

__all__ = ["BACKENDS", "CRF", "CRFParams", "build_crf", "build_stage_crf"]

#: Backends and the gradients that each can give.
BACKENDS: dict[str, tuple[str, ...]] = {
    "exact": ("stop", "diagonal", "exact"),
    "lattice": ("stop", "diagonal"),
    "pydensecrf": ("stop", "diagonal"),
}


def build_crf(backend: str, params: CRFParams, gradient: str = "stop") -> CRF:
    """Build a mean-field CRF: ``(logits (B, C, H, W), images (B, 3, H, W) uint8 RGB) -> probs (B, C, H, W)``.

    The result is unfloored, on the device of the logits, float64 for float64 logits and float32 for all others.
    ``backend: none`` in ``conf/crf`` is no backend: see ``build_stage_crf``.

    Args:
        backend: ``exact`` (the dense kernels themselves: small grids, any device), ``lattice`` (the official
            approximation on a permutohedral lattice: any image size and device), ``pydensecrf`` (the official
            implementation of the lattice). Exact and lattice differ: see each module.
        params: kernels and iterations, in locations of the grid that the CRF runs on (see ``CRFParams.scaled``).
        gradient: ``stop`` (Q is a constant: official code since 2018), ``diagonal`` (official code before),
            ``exact`` (through all iterations; ``exact`` backend only).

    Raises:
        UserError: for an unknown backend or gradient, a gradient that the backend cannot give, a missing package.
    """
    if backend not in BACKENDS:
        raise UserError(
            f"There is no CRF backend {backend!r}: choose one of {', '.join(BACKENDS)}."
            f"{nearest(str(backend), BACKENDS)}"
        )
    if gradient not in BACKENDS[backend]:
        able = [name for name, gradients in BACKENDS.items() if gradient in gradients]
        instead = f", or the backend {' or '.join(able)}" if able else ""
        raise UserError(
            f"The CRF backend {backend!r} has no gradient {gradient!r}: "
            f"choose one of {', '.join(BACKENDS[backend])}{instead}.{nearest(str(gradient), BACKENDS[backend])}"
        )
    module = import_module(f"secseg.crf.{backend}")
    return module.Backend(params, gradient)


def build_stage_crf(stage: Mapping[str, Any]) -> CRF | None:
    """Build the CRF of one stage (``crf.train`` or ``crf.test``); None where its backend is ``none``."""
    options = dict(stage)
    backend, gradient, scale = options.pop("backend"), options.pop("gradient", "stop"), options.pop("scale")
    if backend == "none":
        return None
    return build_crf(backend, CRFParams(**options).scaled(scale), gradient)
