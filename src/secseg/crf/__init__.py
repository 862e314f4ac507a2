"""The fully connected CRF that pulls a mask to the boundaries of the photograph: three backends, one protocol."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from secseg.crf.base import CRF, CRFParams
from secseg.utils.config import build
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
    """Build the CRF of one stage (``crf.train`` or ``crf.test``); None where its backend is ``none``.

    Args:
        stage: the node of ``conf/crf``, plain. With ``_target_`` it names a CRF of the user's own, which gets the
            kernels as ``params``, the ``gradient``, and all settings that are not in ``conf/crf``; ``backend`` is null.

    Raises:
        UserError: as ``build_crf``, for unknown settings, or a ``_target_`` that cannot be used.
    """
    options = dict(stage)
    target, backend = options.pop("_target_", None), options.pop("backend")
    gradient, scale = options.pop("gradient", "stop"), options.pop("scale")
    kernels = {name: options.pop(name) for name in CRFParams.__dataclass_fields__ if name in options}
    params = CRFParams(**kernels).scaled(scale)
    if target is not None:
        if backend is not None:
            raise UserError(f"The CRF {target} takes the place of the backend {backend}: give backend=null next to it.")
        return build({"_target_": target, **options}, CRF, params=params, gradient=gradient)  # type: ignore[type-abstract]
    if options:
        raise UserError(f"The CRF backend {backend!r} has no setting {', '.join(options)}. Remove it.")
    return None if backend == "none" else build_crf(backend, params, gradient)
