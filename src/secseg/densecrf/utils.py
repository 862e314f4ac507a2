"""Unary energies for :class:`secseg.densecrf.DenseCRF2D`, as in ``pydensecrf.utils``."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from secseg.densecrf.arguments import unsupported


def unary_from_softmax(sm: np.ndarray, scale: float | None = None, clip: float | None = 1e-5) -> np.ndarray:
    """Return the negative logarithms of probabilities.

    Args:
        sm: (labels, ...), probabilities.
        scale: in (0, 1]: mixes ``sm`` with equal probabilities, ``scale * sm + (1 - scale) / labels``. None: 1.
        clip: smaller probabilities are set to this number, and those above 1 to 1. None: the energy of 0 is infinite.

    Returns:
        (labels, pixels) float32. Its memory layout follows that of ``sm``, as in pydensecrf. If this is not
        C-contiguous, ``setUnaryEnergy`` refuses it: apply ``np.ascontiguousarray``.

    Raises:
        AssertionError: for a scale out of range, as in pydensecrf.
    """
    labels = sm.shape[0]
    if scale is not None:
        if not 0 < scale <= 1:
            raise AssertionError(f"scale={scale}: give a number above 0 and at most 1, or None.")
        sm = scale * sm + (1 - scale) * np.full(sm.shape, 1 / labels)
    if clip is not None:
        sm = np.clip(sm, clip, 1.0)
    return (-np.log(sm)).reshape(labels, -1).astype(np.float32)


def unary_from_labels(labels: np.ndarray, n_labels: int, gt_prob: float, zero_unsure: bool = True) -> np.ndarray:
    """Return the energies of a label map: its label has the probability ``gt_prob``, and the others share the rest.

    Args:
        labels: (...) integers. If ``zero_unsure``, 0 means unknown, and the labels are 1 to ``n_labels``; else they are
            0 to ``n_labels - 1``.
        n_labels: number of labels, at least 2, without the unknown one.
        gt_prob: between 0 and 1.
        zero_unsure: whether all labels are equally likely where the map is 0.

    Returns:
        (n_labels, pixels) float32, C-contiguous.

    Raises:
        AssertionError: for ``gt_prob`` out of range, as in pydensecrf.
        IndexError: for a label out of range.
    """
    if not 0 < gt_prob < 1:
        raise AssertionError(f"gt_prob={gt_prob}: give a number above 0 and below 1.")
    labels = labels.flatten()
    energies = np.full((n_labels, labels.size), -np.log((1 - gt_prob) / (n_labels - 1)), np.float32)
    known = np.flatnonzero(labels) if zero_unsure else np.arange(labels.size)
    energies[labels[known] - 1 if zero_unsure else labels, known] = -np.log(gt_prob)
    if zero_unsure:
        energies[:, labels == 0] = -np.log(1 / n_labels)
    return energies


def compute_unary(*_: Any, **__: Any) -> NoReturn:
    """Not supported."""
    unsupported("compute_unary, which is deprecated in pydensecrf", "Use unary_from_labels(labels, n_labels, gt_prob)")


def softmax_to_unary(*_: Any, **__: Any) -> NoReturn:
    """Not supported."""
    unsupported("softmax_to_unary, which is deprecated in pydensecrf", "Use unary_from_softmax(sm)")


def create_pairwise_gaussian(*_: Any, **__: Any) -> NoReturn:
    """Not supported."""
    unsupported("create_pairwise_gaussian", "Use DenseCRF2D.addPairwiseGaussian. For other features: pydensecrf")


def create_pairwise_bilateral(*_: Any, **__: Any) -> NoReturn:
    """Not supported."""
    unsupported("create_pairwise_bilateral", "Use DenseCRF2D.addPairwiseBilateral. For other features: pydensecrf")
