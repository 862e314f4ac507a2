"""The fully connected CRF, which pulls a mask to the boundaries of the image: its backends, and one protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from torch import Tensor

from secseg.crf.base import CRF, CRFParams
from secseg.crf.widths import FittedCRF
from secseg.utils.checks import check_choice, refuse
from secseg.utils.config import build
from secseg.utils.errors import UserError, nearest

__all__ = ["BACKENDS", "CRF", "CRFParams", "build_crf", "build_stage_crf"]

#: The backends, with the gradients that each supports.
BACKENDS: dict[str, tuple[str, ...]] = {
    "exact": ("stop", "diagonal", "exact"),
    "lattice": ("stop", "diagonal"),
    "pydensecrf": ("stop", "diagonal"),
    "par": ("stop", "exact"),
}

WIDTHS = ("widths_at", "widths_from")
"""The settings of ``crf.test`` by which the spatial widths differ from image to image."""

AUTO: dict[str, float | None] = {**dict.fromkeys(WIDTHS), "bilateral_weight": 10.0}
"""The settings of ``crf.test`` that can be ``auto``, as in the training run, and their values in training."""


def resolve_auto(stage: Mapping[str, Any], trained: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a node of ``conf/crf`` with the values of ``trained`` for settings that are ``auto``, else of ``AUTO``."""
    values = {**AUTO, **(trained or {})}
    return {**stage, **{key: values[key] for key in AUTO if stage.get(key) == "auto"}}


def build_crf(backend: str, params: CRFParams, gradient: str = "stop") -> CRF:
    """Build a mean-field CRF: ``(logits (B, C, H, W), images (B, 3, H, W) uint8 RGB) -> probs (B, C, H, W)``.

    The result is unfloored and on the device of the logits. It is float64 for float64 logits, else float32.
    ``none`` in ``conf/crf`` is not a backend: see ``build_stage_crf``.

    Args:
        backend: ``lattice`` (the official approximation on a permutohedral lattice, for any image size and device),
            ``exact`` (the dense kernels, for small grids and any device), ``pydensecrf`` (the official implementation
            of the lattice) or ``par`` (a local refinement in place of a CRF, on any device). All but lattice and
            pydensecrf give different results: see their modules.
        params: kernels and iterations, for the grid that the CRF runs on (see ``CRFParams.scaled``).
        gradient: ``stop`` (Q is a constant, as in the official code since 2018), ``diagonal`` (as in the official code
            before) or ``exact`` (through all iterations; only the backend ``exact`` supports it).

    Raises:
        UserError: for an unknown backend or gradient, a gradient that the backend does not support, or a missing
            package.
    """
    refuse(check_choice("The CRF's backend", backend, BACKENDS))
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
    """Build the CRF of one stage (``crf.train`` or ``crf.test``); None if its backend is ``none``.

    Args:
        stage: the node of ``conf/crf``, plain. If it has a ``_target_``, which names a class of the user, ``backend``
            must be null. The class gets the kernels as ``params``, the ``gradient``, and all settings that the options
            in ``conf/crf`` do not have. ``channels`` is the order in which the CRF gets the colours, ``rgb`` or
            ``bgr``: the lattice is not symmetric in its features, and the official training layer gets ``bgr``.
            ``unary`` is what the CRF gets: ``scores``, or ``probabilities`` in their place.
            ``widths_at`` is the longest side of an image, in pixels, for which the spatial widths hold. For other
            images, they are scaled in proportion. None: the widths are the same for all images.
            ``widths_from`` is the share of foreground pixels from which the widths hold. With less foreground, they
            are smaller (see ``FittedCRF``). A setting that is ``auto`` has its value of ``AUTO``.

    Raises:
        UserError: as ``build_crf``; for an unknown setting, or a ``_target_`` that cannot be built.
    """
    stage = resolve_auto(stage)
    options = dict(stage)
    target, backend = options.pop("_target_", None), options.pop("backend")
    gradient, scale = options.pop("gradient", "stop"), options.pop("scale")
    channels, unary = options.pop("channels"), options.pop("unary", "scores")
    kernels = {name: options.pop(name) for name in CRFParams.__dataclass_fields__ if name in options}
    widths = {key: options.pop(key, None) for key in WIDTHS}
    if any(value is not None for value in widths.values()) and backend != "none":
        fixed = {**stage, **dict.fromkeys(WIDTHS)}
        return FittedCRF(lambda divisor: _built({**fixed, "scale": scale * divisor}), **widths)
    params = CRFParams(**kernels).scaled(scale)
    if target is not None:
        if backend is not None:
            raise UserError(f"The CRF {target} replaces the backend {backend}: give backend=null along with _target_.")
        crf = build({"_target_": target, **options}, CRF, params=params, gradient=gradient)  # type: ignore[type-abstract]
    elif options:
        raise UserError(f"The CRF backend {backend!r} has no setting {', '.join(options)}. Remove it.")
    elif backend == "none":
        return None
    else:
        crf = build_crf(backend, params, gradient)
    crf = _OfProbabilities(crf) if unary == "probabilities" else crf
    return _ReversedChannels(crf) if channels == "bgr" else crf


def _built(stage: Mapping[str, Any]) -> CRF:
    crf = build_stage_crf(stage)
    assert crf is not None
    return crf


@dataclass(frozen=True)
class _ReversedChannels:
    """A CRF that gets the channels of the images in the order blue, green, red."""

    crf: CRF

    def __call__(self, logits: Tensor, images: Tensor, /) -> Tensor:
        return self.crf(logits, images.flip(1))


@dataclass(frozen=True)
class _OfProbabilities:
    """A CRF that gets the softmax of the scores in place of the scores, as in the official code of DSRG."""

    crf: CRF

    def __call__(self, logits: Tensor, images: Tensor, /) -> Tensor:
        return self.crf(logits.softmax(1), images)
