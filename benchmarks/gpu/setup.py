"""What the parts share: the device, the config of the paper's training, its network, images and scores."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from pytorch_lightning.utilities import move_data_to_device
from torch import Tensor, nn
from torch.nn.functional import interpolate

from benchmarks.compare import alternate
from benchmarks.step import finish, load_batches
from secseg.data.classes import VOC_CLASSES
from secseg.data.shapes_module import ShapesDataModule
from secseg.data.voc_module import VOCDataModule
from secseg.models import SegmentationNet, build_network
from secseg.utils.config import compose, to_plain
from secseg.utils.device import peak_memory
from secseg.utils.text import size_text

PAPER = ["experiment=paper", "backbone.trunk.weights=null", "trainer.precision=32-true"]
TINY = [
    "backbone=timm",
    "backbone.trunk.model=test_efficientnet",
    "backbone.head.width=16",
    "backbone.head.dilation=2",
    "backbone.freeze=false",
    "backbone.input_size=97",
    "data.batch_size=2",
]
"""A tiny network, for the small form."""
VOC_SIDE, SMALL_SIDE = 500, 90
"""The longest side of the images that are scored, in pixels: that of most images of VOC, and that of the small form."""


@dataclass
class Setup:
    """Inputs of the parts.

    Attributes:
        device: the device that is measured.
        small: whether the sizes are those of the small form.
        root: VOC2012 with cues next to it; None for the built-in shapes.
        folder: a temporary folder.
    """

    device: torch.device
    small: bool
    root: Path | None
    folder: Path

    @property
    def words(self) -> list[str]:
        """The words of the command line of the training that is measured."""
        return [*PAPER, *(TINY if self.small else [])]

    @property
    def title(self) -> str:
        """What is trained and scored, in a line."""
        config = self.config()
        side, count = config["backbone"]["input_size"], config["data"]["batch_size"]
        name = "a tiny network in place of VGG-16" if self.small else config["backbone"]["name"]
        return (
            f"experiment=paper, {name}, {count} images of {side} x {side}, {len(VOC_CLASSES)} classes, random weights"
        )

    def config(self, *words: str) -> dict[str, Any]:
        """Return the config of the training, changed by further words."""
        return to_plain(composed("train", *self.words, "data.root=.", "run_dir=.", *words))

    @cached_property
    def prepared(self) -> tuple[SegmentationNet, dict[str, Any]]:
        """The network, in evaluation mode, and a batch of training images, both on the CPU.

        The weights are random. The last layer is scaled so that the predictions are not constant.
        """
        torch.manual_seed(0)
        network = build_network(self.config()["backbone"], VOC_CLASSES).eval()
        batch = load_batches(self.config(), network, self.root, str(self.folder / "batches"))[0]
        for parameter in network.parameters():
            if parameter.ndim == 4:
                nn.init.kaiming_normal_(parameter)
        classifier: Any = network.head.classifier
        with torch.no_grad():
            deviation, mean = torch.std_mean(network(batch["image"][:2]), (0, 2, 3))
            classifier.weight.mul_((2 / deviation).view(-1, 1, 1, 1))
            classifier.bias.copy_(2 / deviation * (classifier.bias - mean))
        return network, batch

    def network(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> SegmentationNet:
        """Return a copy of the network on a device."""
        return copy.deepcopy(self.prepared[0]).to(device, dtype)

    def batch(self, device: torch.device | str) -> dict[str, Any]:
        """Return the batch on a device."""
        return move_data_to_device(self.prepared[1], torch.device(device))

    @cached_property
    def scores(self) -> Tensor:
        """Smooth random scores (B, C, h, w) for the images of the batch, on the CPU."""
        batch = self.batch("cpu")
        coarse = torch.randn(len(batch["name"]), len(VOC_CLASSES), 6, 6, generator=torch.Generator().manual_seed(0))
        return interpolate(4 * coarse, batch["crf_image"].shape[2:], mode="bicubic")

    @cached_property
    def scored_data(self) -> VOCDataModule:
        """Images with masks, and with VOC's classes."""
        count, folder = (2 if self.small else 24), self.folder / "scored"
        if self.root is not None:
            data = VOCDataModule(str(self.root), limit=count)
        else:
            data = ShapesDataModule(str(folder), draw_train=1, draw_val=count)
            data.prepare()
            resize_files(folder, SMALL_SIDE if self.small else VOC_SIDE)
        data.class_names = VOC_CLASSES
        data.open_scored()
        return data

    def time(self, ways: Mapping[str, Callable[[], Any]], rounds: int | None = None) -> dict[str, list[float]]:
        """Call each way in turn, until the device has finished. Return the seconds of each round by name."""

        def finished(way: Callable[[], Any]) -> Callable[[], None]:
            def call() -> None:
                way()
                finish(self.device.type)

            return call

        rounds = rounds or (10 if self.device.type == "cuda" else 2)
        return alternate({name: finished(way) for name, way in ways.items()}, rounds, warm=1 if self.small else 2)

    def peak_of(self, call: Callable[[], Any], calls: int = 1) -> str:
        """Return the peak memory of calls: on a CUDA device all that its tensors take, else that of the process."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        for _ in range(calls):
            call()
        if self.device.type != "cuda":
            peak = peak_memory()
            return "not measured: the system does not report it" if peak is None else f"{size_text(peak)} (process)"
        finish("cuda")
        tensors, reserved = torch.cuda.max_memory_allocated(self.device), torch.cuda.max_memory_reserved(self.device)
        return f"{size_text(tensors)} in tensors, {size_text(reserved)} reserved"


composed = cache(compose)
"""``compose``, which takes longer than a training of the small form."""


def resize_files(root: Path, side: int) -> None:
    """Give the drawn images and masks in ``root`` a longest side of ``side`` pixels."""
    for path in (*root.rglob("*.jpg"), *root.rglob("*.png")):
        with Image.open(path) as image:
            image.load()
        factor = side / max(image.size)
        way = Image.Resampling.NEAREST if image.mode == "P" else Image.Resampling.BILINEAR
        image.resize((round(image.width * factor), round(image.height * factor)), way).save(path, quality=95)


@contextmanager
def without_tf32() -> Iterator[None]:
    """Compute convolutions in float32. torch computes them in TF32 on GPUs that have it."""
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def relative(ours: Tensor, reference: Tensor) -> float:
    """Return the norm of the difference as a share of the norm of the reference."""
    ours, reference = ours.detach().cpu().double(), reference.detach().cpu().double()
    return float((ours - reference).norm() / reference.norm())
