"""DeepLab-LargeFOV as Caffe runs it: pooling, the resizing of the input and the solver in plain NumPy, and the forward
pass of the official prototxt.

Source: Caffe's pooling layer (sizes rounded up, the last window clipped; averages over the window inside the padded
image), and section 3 of the method's page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

STAGES = (("1_1", "1_2"), ("2_1", "2_2"), ("3_1", "3_2", "3_3"), ("4_1", "4_2", "4_3"), ("5_1", "5_2", "5_3"))


def pooled_size(size: int, kernel: int, stride: int, pad: int) -> int:
    pooled = math.ceil((size + 2 * pad - kernel) / stride) + 1
    if pad and (pooled - 1) * stride >= size + pad:  # the last window would start outside the image
        pooled -= 1
    return pooled


def pool(x: np.ndarray, kernel: int, stride: int, pad: int, average: bool = False) -> np.ndarray:
    """Pool (C, H, W), window by window."""
    channels, height, width = x.shape
    rows, columns = (pooled_size(size, kernel, stride, pad) for size in (height, width))
    result = np.zeros((channels, rows, columns), x.dtype)
    for row in range(rows):
        for column in range(columns):
            top, left = row * stride - pad, column * stride - pad
            bottom, right = min(top + kernel, height + pad), min(left + kernel, width + pad)
            area = (bottom - top) * (right - left)
            window = x[:, max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
            result[:, row, column] = window.sum((1, 2)) / area if average else window.max((1, 2))
    return result


def large_fov(image: np.ndarray, blobs: Mapping[str, tuple[np.ndarray, np.ndarray]], classifier: str) -> np.ndarray:
    """Scores (C, h, w) of ``image`` (H, W, 3), RGB bytes, by weights and biases under Caffe's layer names."""
    bgr = image[..., ::-1].astype(np.float32) - np.array([104, 117, 123], np.float32)
    x = np.ascontiguousarray(bgr.transpose(2, 0, 1))
    for stage, layers in enumerate(STAGES, 1):
        for layer in layers:
            x = np.maximum(convolve(x, blobs[f"conv{layer}"], 2 if stage == 5 else 1), 0)
        x = pool(x, 3, 2 if stage <= 3 else 1, 1)
    x = pool(x, 3, 1, 1, average=True)
    x = np.maximum(convolve(x, blobs["fc6"], 12), 0)
    x = np.maximum(convolve(x, blobs["fc7"], 0), 0)
    return convolve(x, blobs[classifier], 0)


def convolve(x: np.ndarray, layer: tuple[np.ndarray, np.ndarray], dilation: int) -> np.ndarray:
    """A 3x3 convolution whose padding is its dilation, or a 1x1 one (dilation 0)."""
    weight, bias = (_tensor(array) for array in layer)
    y = F.conv2d(_tensor(x)[None], weight, bias.flatten(), padding=dilation, dilation=max(dilation, 1))
    return y[0].numpy()


class Solver:
    """Caffe's SGD solver for one parameter: ``h <- momentum h + rate multiplier (gradient + decay w)``, ``w <- w - h``.

    The policy ``step``: the rate is ``base gamma^floor(iteration / every)``.
    """

    def __init__(self, base: float, momentum: float, decay: float, gamma: float, every: int) -> None:
        self.base, self.momentum, self.decay, self.gamma, self.every = base, momentum, decay, gamma, every
        self.iteration, self.history = 0, 0.0

    def step(self, w: np.ndarray, gradient: np.ndarray, multiplier: float = 1.0) -> np.ndarray:
        rate = self.base * self.gamma ** (self.iteration // self.every) * multiplier
        self.history = self.momentum * self.history + rate * (gradient + self.decay * w)
        self.iteration += 1
        return w - self.history


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize (h, w, 3) uint8 as OpenCV's ``resize(INTER_LINEAR)``, which Caffe's data layer calls, pixel by pixel.

    Source: OpenCV's HResizeLinear and VResizeLinear for bytes: weights of 11 bits, truncated products.
    """
    (h, w), (height, width) = image.shape[:2], size
    result = np.zeros((height, width, 3), np.uint8)
    for y in range(height):
        fy = np.float32((y + 0.5) * (h / height) - 0.5)
        sy = math.floor(fy)
        beta = [round(float(2048 * (1 - (fy - sy)))), round(float(2048 * (fy - sy)))]
        for x in range(width):
            fx = np.float32((x + 0.5) * (w / width) - 0.5)
            sx = math.floor(fx)
            fx = fx - np.float32(sx)
            if sx < 0:
                sx, fx = 0, np.float32(0)
            if sx >= w - 1:
                sx, fx = w - 1, np.float32(0)
            alpha = [round(float(2048 * (1 - fx))), round(float(2048 * fx))]
            for c in range(3):
                rows = []
                for k in (0, 1):
                    line = image[min(max(sy + k, 0), h - 1), :, c].tolist()
                    rows.append(line[sx] * alpha[0] + line[min(sx + 1, w - 1)] * alpha[1])
                total = ((beta[0] * (rows[0] >> 4)) >> 16) + ((beta[1] * (rows[1] >> 4)) >> 16)
                result[y, x, c] = (total + 2) >> 2
    return result


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
