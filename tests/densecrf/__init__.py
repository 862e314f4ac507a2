"""Images and probabilities for the tests of the CRF with pydensecrf's interface."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

#: Kernels as public code has them: ``sxy, compat`` of the Gaussian, ``sxy, srgb, compat`` of the bilateral kernel.
KERNELS = {
    "paper": [("gaussian", 3, 3), ("bilateral", 80, 13, 10)],
    "67, 3, 4": [("gaussian", 1, 3), ("bilateral", 67, 3, 4)],
    "121, 5, 4": [("gaussian", 3, 1), ("bilateral", 121, 5, 4)],
    "50, 5, 10": [("gaussian", 1, 3), ("bilateral", 50, 5, 10)],
    "gaussian alone": [("gaussian", 3, 3)],
    "bilateral alone": [("bilateral", 50, 5, 10)],
    "none": [],
}


def blobs(height: int, width: int, labels: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return an image (H, W, 3) uint8 of noisy squares, and probabilities (C, H, W) float32 that are constant on other
    squares."""
    rng = np.random.default_rng(seed)
    colours = rng.uniform(0, 255, (height // 8 + 1, width // 8 + 1, 3)).repeat(8, 0).repeat(8, 1)[:height, :width]
    image = np.clip(colours + rng.normal(0, 6, colours.shape), 0, 255).astype(np.uint8)
    probs = rng.dirichlet(np.ones(labels), (height // 5 + 1, width // 5 + 1)).repeat(5, 0).repeat(5, 1)
    return image, np.ascontiguousarray(probs[:height, :width].transpose(2, 0, 1), np.float32)


def built(package: ModuleType, image: np.ndarray, energies: np.ndarray, kernels: list[tuple[Any, ...]]) -> Any:
    """Return the ``DenseCRF2D`` of a package, with these kernels."""
    crf = package.DenseCRF2D(image.shape[1], image.shape[0], len(energies))
    crf.setUnaryEnergy(energies)
    for kind, *settings in kernels:
        if kind == "gaussian":
            crf.addPairwiseGaussian(sxy=settings[0], compat=settings[1])
        else:
            crf.addPairwiseBilateral(sxy=settings[0], srgb=settings[1], rgbim=image, compat=settings[2])
    return crf
