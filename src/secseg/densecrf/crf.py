"""``DenseCRF2D`` of pydensecrf, for many images in one call, too."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NoReturn

import numba
import numpy as np

from secseg.densecrf.arguments import (
    check_kind,
    check_range,
    contiguous,
    one_width,
    potts,
    size,
    unsupported,
    whole,
)
from secseg.densecrf.constants import DIAG_KERNEL, NORMALIZE_SYMMETRIC
from secseg.densecrf.mean_field import gaussian_lattice, mean_field, merged
from secseg.densecrf.permutohedral import Lattice, build_lattice

MOST_LABELS = 512
"""Numba compiles functions for the number of labels, and their size grows with it."""


class DenseCRF:
    """A CRF of any variables, in pydensecrf. Here it is only the base class of :class:`DenseCRF2D`."""

    def __init__(self, *_: Any, **__: Any) -> None:
        unsupported("DenseCRF", "For images, use DenseCRF2D(width, height, labels). For other data: pydensecrf")

    def addPairwiseEnergy(self, *_: Any, **__: Any) -> NoReturn:
        unsupported("addPairwiseEnergy", "For positions and RGB, use addPairwiseGaussian and addPairwiseBilateral")

    def setUnary(self, *_: Any, **__: Any) -> NoReturn:
        unsupported("setUnary", "Use setUnaryEnergy(u) with an array")

    def startInference(self, *_: Any, **__: Any) -> NoReturn:
        unsupported("startInference", "Use inference(n), which starts and makes n steps")

    def stepInference(self, *_: Any, **__: Any) -> NoReturn:
        unsupported("stepInference", "Use inference(n), which starts and makes n steps")

    def klDivergence(self, *_: Any, **__: Any) -> NoReturn:
        unsupported("klDivergence")


class Unary:
    """A unary energy as an object, in pydensecrf."""

    def __init__(self, *_: Any, **__: Any) -> None:
        unsupported(type(self).__name__, "Use setUnaryEnergy(u) with an array")


class ConstUnary(Unary):
    """A unary energy as an object, in pydensecrf."""


class LogisticUnary(Unary):
    """A unary energy that is a product of features and weights, in pydensecrf."""


class DenseCRF2D(DenseCRF):
    """A fully connected CRF on the pixels of an image, as in pydensecrf.

    A pixel has the index ``y * w + x``, in all arrays.

    Args:
        w, h: width and height of the image in pixels, at least 1. The width comes first.
        nlabels: number of labels, 1 to ``MOST_LABELS``.

    Source: Krähenbühl and Koltun, Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials, NIPS 2011.
    """

    def __init__(self, w: int, h: int, nlabels: int) -> None:
        self._width, self._height, self._labels = size("w", w), size("h", h), size("nlabels", nlabels)
        if self._labels > MOST_LABELS:
            unsupported(f"more than {MOST_LABELS} labels (nlabels={nlabels})")
        self._scores: np.ndarray | None = None
        self._bilateral: list[Any] = []
        self._gaussian: list[Any] = []

    def setUnaryEnergy(self, u: np.ndarray, f: None = None) -> None:
        """Set the unary energies, negative logarithms of probabilities. Without them, all labels are equally likely.

        Args:
            u: (labels, pixels) float32, C-contiguous (see ``secseg.densecrf.utils``). The values are copied.
            f: not supported.

        Raises:
            TypeError, ValueError: if ``u`` has another type, shape or memory layout.
        """
        if f is not None:
            unsupported("setUnaryEnergy(u, f) with features f", "Give the product of both as u")
        energies = contiguous("u", u, np.float32, 2)
        if energies.shape != (self._labels, self._width * self._height):
            raise ValueError(
                f"u has the shape {energies.shape}: it needs (labels, pixels), which is "
                f"{(self._labels, self._width * self._height)}."
            )
        self._scores = -energies

    def addPairwiseGaussian(
        self, sxy: Any, compat: Any, kernel: int = DIAG_KERNEL, normalization: int = NORMALIZE_SYMMETRIC
    ) -> None:
        """Add a kernel of the positions, which removes small regions.

        Args:
            sxy: standard deviation in pixels, above 0: a number, or two equal numbers.
            compat: weight of the kernel, a number of at least 0.
            kernel: any of the constants; it does not change the result.
            normalization: ``NORMALIZE_SYMMETRIC``.

        Raises:
            NotImplementedError: for other values that pydensecrf accepts.
        """
        check_kind(kernel, normalization)
        width, weight = one_width("sxy", sxy, 2), potts(compat)
        check_range(self._height, self._width, width)
        self._gaussian.append((weight, width))

    def addPairwiseBilateral(
        self,
        sxy: Any,
        srgb: Any,
        rgbim: np.ndarray,
        compat: Any,
        kernel: int = DIAG_KERNEL,
        normalization: int = NORMALIZE_SYMMETRIC,
    ) -> None:
        """Add a kernel of the positions and colours, which pulls boundaries to those of the image.

        Args:
            sxy: standard deviation of the position in pixels, above 0: a number, or two equal numbers.
            srgb: standard deviation of the colour in byte values, above 0: a number, or three equal numbers.
            rgbim: (h, w, 3) uint8, C-contiguous. The values are copied.
            compat: weight of the kernel, a number of at least 0.
            kernel: any of the constants; it does not change the result.
            normalization: ``NORMALIZE_SYMMETRIC``.

        Raises:
            NotImplementedError: for other values that pydensecrf accepts.
            TypeError, ValueError: if ``rgbim`` has another type, shape or memory layout.
        """
        image = contiguous("rgbim", rgbim, np.uint8, 3)
        if image.shape != (self._height, self._width, 3):
            raise ValueError(
                f"rgbim has the shape {image.shape}: it needs (h, w, 3), which is {(self._height, self._width, 3)}."
            )
        check_kind(kernel, normalization)
        width, colours, weight = one_width("sxy", sxy, 2), one_width("srgb", srgb, 3), potts(compat)
        check_range(self._height, self._width, width, colours)
        self._bilateral.append((weight, width, np.ascontiguousarray(image.transpose(2, 0, 1)), colours))

    def inference(self, niter: int, threads: int | None = None) -> np.ndarray:
        """Return the probabilities after ``niter`` mean-field iterations, (labels, pixels) float32.

        The array is in Fortran order, as the buffer that pydensecrf returns. The result does not depend on ``threads``.

        Args:
            niter: iterations. For 0 and below, the result is the softmax of the negative energies.
            threads: at most so many threads share the work for an image of 65,536 pixels or more; not in pydensecrf.
                None for Numba's number: the cores that this process may use, or ``NUMBA_NUM_THREADS``.
        """
        pixels = self._width * self._height
        scores = self._scores
        if scores is None:
            scores = np.zeros((self._labels, pixels), np.float32)
        probs = np.empty((pixels, self._labels), np.float32).T
        mean_field(scores, probs, self._kernels(_cores(threads)), max(0, whole("niter", niter)), _cores(threads))
        return probs

    def _kernels(self, threads: int) -> tuple[Lattice, Lattice]:
        """Return the lattice of all bilateral kernels and that of all Gaussian ones."""
        size = self._height, self._width
        build = partial(build_lattice, *size, threads=threads)
        self._bilateral = [one if isinstance(one, Lattice) else build(*one) for one in self._bilateral]
        gaussian = [gaussian_lattice(*size, *one) for one in self._gaussian]
        pixels = self._height * self._width
        return merged(self._bilateral, pixels), merged(gaussian, pixels)


def inference_batch(crfs: Iterable[DenseCRF2D], niter: int, threads: int | None = None) -> list[np.ndarray]:
    """Return the result of ``inference`` of each CRF, in their order. Several images are computed at the same time.

    Args:
        crfs: of images of any sizes. A generator is read as needed, so that only few inputs are in memory.
        niter: as in ``inference``.
        threads: how many images are computed at the same time; None for Numba's number, as in ``inference``. The
            results do not depend on it.

    Raises:
        TypeError: for what is not a ``DenseCRF2D``.
    """
    workers = _cores(threads)
    results: list[np.ndarray] = []
    waiting: deque[Future[np.ndarray]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for crf in crfs:
            if not isinstance(crf, DenseCRF2D):
                raise TypeError(f"inference_batch: give DenseCRF2D objects, not {type(crf).__name__}.")
            waiting.append(pool.submit(partial(crf.inference, niter, 1)))
            if len(waiting) >= 2 * workers:
                results.append(waiting.popleft().result())
        return results + [future.result() for future in waiting]


def _cores(threads: int | None) -> int:
    usual = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]  # made when Numba reads the environment
    return size("threads", usual if threads is None else threads)
