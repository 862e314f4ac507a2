"""The helpers for unary energies return and raise what those of pydensecrf do."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from secseg.densecrf import utils

SOFTMAX = np.random.default_rng(0).dirichlet(np.ones(3), (4, 6))  # (H, W, C)
FIRST = np.ascontiguousarray(SOFTMAX.transpose(2, 0, 1))
LABELS = SOFTMAX.argmax(2)
INPUTS = {
    "float64": FIRST,
    "float32": FIRST.astype(np.float32),
    "float16": FIRST.astype(np.float16),
    "one-hot int": (FIRST > 0.5).astype(int),
    "channels last, as a view": SOFTMAX.transpose(2, 0, 1),
    "Fortran order": np.asfortranarray(FIRST),
    "flat, Fortran order": np.asfortranarray(FIRST.reshape(3, -1)),
    "slice": FIRST[:, ::2, 1:],
    "one pixel": FIRST[:, 0, 0],
    "below 0": -FIRST,
}


def outcome(call: Any, *arguments: Any, **settings: Any) -> tuple[Any, ...]:
    """Return the type of exception that a call raises, or what identifies the array that it returns."""
    try:
        found = call(*arguments, **settings)
    except Exception as error:
        return (type(error),)
    return found.shape, found.dtype, found.strides, found.tobytes()


@pytest.mark.parametrize("sm", INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize(
    "settings",
    [{}, {"scale": 0.7}, {"scale": 1}, {"scale": 0}, {"scale": 1.1}, {"clip": 0.2}, {"scale": 0.5, "clip": None}],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:invalid value encountered in log")
@pytest.mark.filterwarnings("ignore:divide by zero encountered in log")
def test_unary_from_softmax_is_that_of_pydensecrf(
    official_utils: ModuleType, sm: np.ndarray, settings: dict[str, Any]
) -> None:
    own, theirs = (outcome(package.unary_from_softmax, sm, **settings) for package in (utils, official_utils))
    assert own == theirs


@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        LABELS.astype(np.int32),
        LABELS + 1,
        LABELS - 1,
        LABELS + 2,
        LABELS.astype(float),
        np.asfortranarray(LABELS),
    ],
)
@pytest.mark.parametrize(
    "settings",
    [{}, {"zero_unsure": False}, {"gt_prob": 0}, {"gt_prob": 1}, {"gt_prob": 1.5}, {"n_labels": 4}, {"n_labels": 2.0}],
    ids=str,
)
def test_unary_from_labels_is_that_of_pydensecrf(
    official_utils: ModuleType, labels: np.ndarray, settings: dict[str, Any]
) -> None:
    settings = {"n_labels": 3, "gt_prob": 0.7, **settings}
    own, theirs = (outcome(package.unary_from_labels, labels, **settings) for package in (utils, official_utils))
    assert own == theirs


def test_unary_from_softmax_is_the_negative_logarithm() -> None:
    expected = [[-np.log(max(FIRST[c, y, x], 1e-5)) for y in range(4) for x in range(6)] for c in range(3)]
    np.testing.assert_allclose(utils.unary_from_softmax(FIRST), expected, rtol=1e-6)


def test_a_label_map_of_bytes_may_have_unknown_pixels() -> None:
    """In pydensecrf, 0 - 1 is 255 for these labels, and raises an IndexError."""
    own = utils.unary_from_labels(LABELS.astype(np.uint8), 2, 0.7)
    assert np.array_equal(own, utils.unary_from_labels(LABELS, 2, 0.7))
    assert np.allclose(own[:, LABELS.ravel() == 0], np.log(2))
