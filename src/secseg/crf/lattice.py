"""Mean field on a permutohedral lattice, for torch: the official approximation, for images of any size."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import numpy as np
import torch
from torch import Tensor

from secseg.crf.base import MeanField
from secseg.densecrf.mean_field import gaussian_lattice, mean_field
from secseg.densecrf.permutohedral import build_lattice


class Backend(MeanField):
    """Lattice mean field in float32.

    The images of a batch, or the parts of a large image, run side by side on torch's number of threads. Input on a CUDA
    device stays there (see :mod:`secseg.crf.lattice_torch`). Input on any other device is copied to the CPU.
    """

    def solve(self, logits: Tensor, images: Tensor) -> Tensor:
        if logits.device.type == "cuda":
            from secseg.crf.lattice_torch import mean_field as on_device

            return on_device(logits, images, self.params)
        scores = logits.detach().float().cpu().contiguous().numpy()
        pixels = images.cpu().contiguous().numpy()
        probs = np.empty_like(scores)
        threads = torch.get_num_threads()
        if len(scores) == 1:
            self._solve(scores[0], pixels[0], probs[0], threads)
        else:
            with ThreadPoolExecutor(min(len(scores), threads)) as pool:
                list(pool.map(self._solve, scores, pixels, probs, repeat(1)))
        return torch.from_numpy(probs)

    def _solve(self, scores: np.ndarray, image: np.ndarray, probs: np.ndarray, threads: int) -> None:
        """Write the probabilities (C, H, W) for scores (C, H, W) float32 and an image (3, H, W) uint8."""
        p, (height, width) = self.params, scores.shape[1:]
        bilateral = build_lattice(height, width, p.bilateral_weight, p.bilateral_xy, image, p.bilateral_rgb, threads)
        gaussian = gaussian_lattice(height, width, p.gaussian_weight, p.gaussian_xy)
        flat = scores.reshape(len(scores), -1), probs.reshape(len(scores), -1)
        mean_field(*flat, (bilateral, gaussian), p.iterations, threads)
