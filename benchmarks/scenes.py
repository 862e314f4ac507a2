"""Input for timing the CRF: real images with a network's predictions, or drawn ones with random predictions."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from secseg.data.classes import VOC_CLASSES
from secseg.data.images import read_image
from secseg.data.masks import read_mask
from secseg.data.shapes import SHAPES_CLASSES, draw_shapes
from secseg.data.transforms import evaluation_input
from secseg.data.voc import open_split
from secseg.inference.full_size import full_size_probs
from secseg.models.files.load import load_network


@dataclass(frozen=True)
class Scene:
    """An image (H, W, 3) uint8, a network's scores (C, h, w) for it, and its mask (H, W) uint8 or None."""

    image: np.ndarray
    scores: Tensor
    mask: np.ndarray | None

    def probs(self, size: tuple[int, int] | None = None, labels: int | None = None) -> Tensor:
        """Return probabilities (C, H, W) of the image's size or another one.

        Args:
            size: (H, W); None for the image's own.
            labels: their number, for which the network's labels are repeated; None for the network's.
        """
        scores = self.scores if labels is None else self.scores[torch.arange(labels) % len(self.scores)]
        return full_size_probs(scores, size or self.image.shape[:2])

    def resized(self, size: tuple[int, int]) -> np.ndarray:
        """Return the image at another size."""
        return evaluation_input(self.image, size).permute(1, 2, 0).numpy()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, help="folder in VOC's layout; without it, drawn images")
    parser.add_argument("--ckpt", help="run folder or network of VOC's classes, for the predictions")
    parser.add_argument("--split", default="val", help="id list of the images (val)")
    parser.add_argument("--rounds", type=int, default=5)


def find_scenes(arguments: argparse.Namespace, count: int) -> tuple[list[Scene], str]:
    """Return the first ``count`` scenes, and a description of them."""
    if arguments.root is None or arguments.ckpt is None:
        scores = 4 * torch.randn(count, len(VOC_CLASSES), 6, 6, generator=torch.Generator().manual_seed(0))
        scores = interpolate(scores, (41, 41), mode="bicubic")
        with TemporaryDirectory() as folder:
            draw_shapes(folder, train=1, val=count)
            images = open_split(folder, "val", require_masks=True, class_names=SHAPES_CLASSES)
            pixels = [read_image(path) for path in images.images]
        scenes = [Scene(*one, None) for one in zip(pixels, scores, strict=True)]
        return scenes, "drawn images, random predictions"
    network = load_network(arguments.ckpt)
    images = open_split(arguments.root, arguments.split, require_masks=True)
    scenes = []
    with torch.inference_mode():
        for path, mask in list(zip(images.images, images.masks, strict=True))[:count]:
            image = read_image(path)
            scores = network(evaluation_input(image, network.input_size)[None])[0].float()
            scenes.append(Scene(image, scores, read_mask(mask, len(VOC_CLASSES))))
    return scenes, "images of VOC 2012, predictions of a trained network"
