"""Predict the mask of an image at its own size, with and without CRF.

The defaults are the official test protocol: resize to the network's input with aligned corners, one forward pass,
softmax, enlarge the probabilities with aligned corners, floor them at 1e-5, CRF on their logarithms, argmax.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from secseg.crf import CRF, build_stage_crf, resolve_auto
from secseg.data.transforms import evaluation_input
from secseg.inference.full_size import crf_classes, full_size_probs, predict_mask, refine_classes
from secseg.models import SegmentationNet, TrunkNet, fast_copy
from secseg.models.files.load import OpenedNetwork, open_network
from secseg.models.input_sizes import InputSizes
from secseg.utils.checks import check_choice, check_number, check_numbers, check_whole, refuse
from secseg.utils.device import pick_device
from secseg.utils.errors import UserError
from secseg.utils.parallel import Batched
from secseg.utils.progress import Stopwatch
from secseg.utils.resizing import resize_mask

log = logging.getLogger(__name__)

STEP = 8
"""Input sides other than the network's are a multiple of this plus 1, such as 321, so that the corners of image and
mask coincide. If the trunk cannot process such a side, the nearest one that fits is used."""
PRECISIONS = ("32-true", "bf16")


@dataclass(frozen=True)
class Protocol:
    """How the probabilities of an image are computed; the defaults are the official protocol.

    Attributes:
        input_size: side of the network's square input at scale 1, in pixels.
        scales: factors of the input's side; the probabilities of all passes are averaged.
        mirror: average over the mirrored images, too.
        keep_ratio: keep the aspect ratio of the image, in an input of the same area; else the input is square.
        most_pixels: a larger image is reduced to this number of pixels, and its mask is enlarged (nearest pixel). This
            bounds the memory: about 30 bytes per pixel and class for each image in work.
        drop_labels_below: classes whose probability is below this at each pixel are left out of the CRF, which makes it
            faster; 0 keeps all, as the official code does. The others get their share, so single pixels can change.
        precision: of the network's forward pass: ``32-true``, or ``bf16``, which is faster on devices with instructions
            for it and slower on others. Everything else is float32.

    Raises:
        UserError: for values out of range.
    """

    input_size: int = 321
    scales: Sequence[float] = field(default_factory=lambda: [1.0])
    mirror: bool = False
    keep_ratio: bool = False
    most_pixels: int = 2_000_000
    drop_labels_below: float = 0.0
    precision: str = "32-true"

    def __post_init__(self) -> None:
        problems = [
            *check_numbers("inference.scales", self.scales, 0.1, most=10),
            *check_whole("inference.input_size", self.input_size, 1),
            *check_whole("inference.most_pixels", self.most_pixels, 1),
            *check_number("inference.drop_labels_below", self.drop_labels_below, 0, below=1),
            *check_choice("inference.precision", self.precision, PRECISIONS),
        ]
        refuse(problems)


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image.

    Attributes:
        masks: (H, W) uint8, class numbers: ``without_crf`` and, if there is a CRF, ``with_crf``.
        kept_probs: (k, h, w) float32, probabilities of ``classes``, after the CRF if there is one; at the size of the
            image, or at the reduced size of a larger one (``Protocol.most_pixels``).
        classes: (k,) class numbers of ``kept_probs``; the other classes have probability 0.
        seconds: wall time of the stages ``network`` and ``CRF``.
    """

    masks: dict[str, np.ndarray]
    kept_probs: Tensor
    classes: Tensor
    num_classes: int
    seconds: dict[str, float]

    @property
    def mask(self) -> np.ndarray:
        """The best mask (H, W) uint8: with CRF, if there is one."""
        return list(self.masks.values())[-1]

    @property
    def probs(self) -> Tensor:
        """The probabilities (C, h, w) float32 of all classes."""
        if len(self.classes) == self.num_classes:
            return self.kept_probs
        return self.kept_probs.new_zeros(self.num_classes, *self.kept_probs.shape[1:]).index_copy_(
            0, self.classes, self.kept_probs
        )


class Predictor:
    """Predicts masks with a network, a protocol and a CRF. Thread-safe.

    On a CPU, a faster copy of the network is used, whose results differ only by rounding. On a GPU, images of several
    threads go through the network as a batch, and through the CRF one after the other, which bounds the memory.

    Args:
        network: the network, in evaluation mode.
        protocol: see ``Protocol``.
        crf: ``(logits (1, C, H, W), image (1, 3, H, W) uint8) -> probs``, or None.
    """

    def __init__(self, network: SegmentationNet, protocol: Protocol, crf: CRF | None = None) -> None:
        self.network, self.protocol, self.crf = network, protocol, crf
        self.num_classes = len(network.class_names)
        self.device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
        fast = self.device.type == "cpu" and isinstance(network, TrunkNet) and not network.training
        self._network = fast_copy(network) if fast else network
        batches = self.device.type == "cuda"
        self._scores: Callable[[Tensor], Tensor] = Batched(self._forward) if batches else self._forward
        self._sizes = InputSizes(network.trunk) if isinstance(network, TrunkNet) else None
        self._crf_lock: AbstractContextManager[Any] = threading.Lock() if batches else nullcontext()

    def __call__(self, photo: np.ndarray, allowed: Collection[int] | None = None) -> Prediction:
        """Predict the mask of an image.

        Args:
            photo: (H, W, 3) uint8 RGB, of any size.
            allowed: numbers of the foreground classes that may be in the image (its image-level labels); background is
                always allowed. None for all classes.
        """
        size = (photo.shape[0], photo.shape[1])
        watch = Stopwatch()
        with watch("network"):
            photo = self.reduced(photo)
            probs = self.probabilities(photo, allowed)
            masks = {"without_crf": resize_mask(predict_mask(probs), size)}
        classes = torch.arange(self.num_classes)
        with watch("CRF"):
            if self.crf is not None:
                probs, classes = self.refine(probs, photo, allowed)
                masks["with_crf"] = resize_mask(predict_mask(probs, classes), size)
        return Prediction(masks, probs.cpu(), classes, self.num_classes, watch.seconds)

    def reduced(self, photo: np.ndarray) -> np.ndarray:
        """Return ``photo`` (H, W, 3) uint8, reduced to ``most_pixels`` pixels if it is larger."""
        height, width = photo.shape[:2]
        factor = math.sqrt(self.protocol.most_pixels / (height * width))
        if factor >= 1:
            return photo
        size = max(1, int(width * factor)), max(1, int(height * factor))
        return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BILINEAR))

    def probabilities(self, photo: np.ndarray, allowed: Collection[int] | None = None) -> Tensor:
        """Return the probabilities (C, H, W) float32 of the network for ``photo`` (H, W, 3) uint8, at its size.

        Classes that are not allowed have probability 0; the others are scaled to a sum of 1.
        """
        size = (photo.shape[0], photo.shape[1])
        total: Tensor | None = None
        passes = 0
        with torch.inference_mode():
            for side in self._input_sizes(size):
                image = evaluation_input(photo, side)[None]
                for mirrored in (False, True) if self.protocol.mirror else (False,):
                    scores = self._scores(image.flip(-1) if mirrored else image)[0]
                    probs = full_size_probs(scores.flip(-1) if mirrored else scores, size)
                    total = probs if total is None else total.add_(probs)
                    passes += 1
            assert total is not None
            total.div_(passes) if passes > 1 else None
            if allowed is not None:
                total = total * self._allowed(allowed).to(total.device)[:, None, None]
                total = total / total.sum(0, keepdim=True).clamp_min(torch.finfo(total.dtype).tiny)
            return total

    def refine(self, probs: Tensor, photo: np.ndarray, allowed: Collection[int] | None = None) -> tuple[Tensor, Tensor]:
        """Refine probabilities (C, H, W) of ``photo`` (H, W, 3) uint8 with the CRF.

        Returns:
            The probabilities (k, H, W) of the classes that are allowed and not below ``drop_labels_below``, and their
            numbers (k,).
        """
        assert self.crf is not None
        with torch.inference_mode(), self._crf_lock:
            permitted = None if allowed is None else self._allowed(allowed)
            classes = crf_classes(probs, permitted, self.protocol.drop_labels_below)
            return refine_classes(probs, photo, self.crf, classes), classes

    def _forward(self, images: Tensor) -> Tensor:
        """Return the network's scores (B, C, h, w) of images (B, 3, S, S)."""
        bf16 = self.protocol.precision == "bf16"
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            return self._network(images)

    def _input_sizes(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        own = self.protocol.input_size
        height, width = size
        stretch = math.sqrt(height / width) if self.protocol.keep_ratio else 1.0
        sizes = []
        for scale in self.protocol.scales:
            sides = (own * scale * stretch, own * scale / stretch)
            sizes.append((self._side(sides[0]), self._side(sides[1])))
        return sizes

    def _side(self, side: float) -> int:
        """Return the side of the input that is near to ``side`` and fits the trunk."""
        if side == self.protocol.input_size:
            return self.protocol.input_size
        near = max(1, round((side - 1) / STEP)) * STEP + 1
        return near if self._sizes is None else self._sizes.nearest(near, "inference.scales")

    def _allowed(self, allowed: Collection[int]) -> Tensor:
        keep = torch.zeros(self.num_classes, dtype=torch.bool)
        keep[[0, *allowed]] = True
        return keep


def open_protocol(settings: Mapping[str, Any], network: SegmentationNet) -> Protocol:
    """Return the protocol of a plain ``conf/inference`` node; ``input_size`` null is the input size of the network."""
    size = network.input_size if settings["input_size"] is None else settings["input_size"]
    try:
        return Protocol(**{**settings, "input_size": size})
    except TypeError as error:
        given = ", ".join(f"{key}={value}" for key, value in settings.items())
        raise UserError(f"These inference settings cannot be used ({error}): {given}.") from error


def open_predictor(config: Mapping[str, Any]) -> tuple[Predictor, dict[str, Any], OpenedNetwork]:
    """Build the predictor of a command from its ``ckpt``, ``device``, ``inference`` and ``crf.test``.

    Returns:
        The predictor, the part of the protocol for ``results.json``, ``inference`` and ``crf``, and the network with
        its file. The warnings about the network are logged.
    """
    opened = open_network(config["ckpt"])
    for warning in opened.warnings:
        log.warning("%s", warning)
    network = opened.network.to(pick_device(config["device"]))
    return *build_predictor(network, config["inference"], config["crf"]["test"]), opened


def build_predictor(
    network: SegmentationNet, inference: Mapping[str, Any], stage: Mapping[str, Any]
) -> tuple[Predictor, dict[str, Any]]:
    """As ``open_predictor``, for a network, and plain nodes of ``conf/inference`` and ``crf.test``."""
    stage = resolve_auto(stage, network.test_crf)
    predictor = Predictor(network, open_protocol(inference, network), build_stage_crf(stage))
    crf = None if predictor.crf is None else {key: value for key, value in stage.items() if key != "gradient"}
    return predictor, {"inference": asdict(predictor.protocol), "crf": crf}
