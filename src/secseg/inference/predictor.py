"""Photograph in, mask out, at the photograph's own size; with and without CRF.

The defaults are the official test protocol: squeezed to the network's input with aligned corners, one forward pass,
softmax, probabilities enlarged with aligned corners, floored at 1e-5, CRF on their logarithms, argmax.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from secseg.crf import CRF, build_stage_crf
from secseg.data.transforms import evaluation_input
from secseg.inference.full_size import contenders, full_size_probs, labels, refine_contenders
from secseg.models import SegmentationNet, TrunkNet, fast_copy
from secseg.models.files.load import load_network
from secseg.utils.checks import check_choice, check_number, check_numbers, check_whole, refuse
from secseg.utils.device import pick_device
from secseg.utils.errors import UserError
from secseg.utils.parallel import Batched
from secseg.utils.progress import Stopwatch
from secseg.utils.resizing import resize_mask

STEP = 8
"""Input sides other than the network's own are multiples of this plus 1, as 321 is: image and mask corners meet."""
PRECISIONS = ("32-true", "bf16")


@dataclass(frozen=True)
class Protocol:
    """How a photograph becomes probabilities; the defaults are the official protocol.

    Attributes:
        input_size: side of the network's square input at scale 1, in pixels.
        scales: factors of the input's side; the probabilities of all passes are averaged.
        mirror: average over the mirror images, too.
        keep_ratio: keep the photograph's aspect ratio, in an input of the same area, in place of squeezing it square.
        most_pixels: a larger photograph is worked on at this many pixels, and its mask enlarged (nearest pixel). It
            bounds the memory: about 30 bytes a pixel and class for each image that is worked on.
        drop_labels_below: labels whose probability is nowhere in the image as high are left out of the CRF, which makes
            it faster; 0 leaves none out, as the official code does. Other labels gain what these would have got, so
            single pixels can change.
        precision: of the network's pass: ``32-true``, or ``bf16``, which devices with instructions for it do faster and
            others slower. All else is float32.

    Raises:
        UserError: for values out of range.
    """

    input_size: int = 321
    scales: tuple[float, ...] = (1.0,)
    mirror: bool = False
    keep_ratio: bool = False
    most_pixels: int = 2_000_000
    drop_labels_below: float = 0.0
    precision: str = "32-true"

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", tuple(self.scales))
        problems = [
            *check_numbers("inference.scales", self.scales, 0.1, most=10),
            *check_whole("inference.input_size", self.input_size, 1),
            *check_whole("inference.most_pixels", self.most_pixels, 1),
            *check_number("inference.drop_labels_below", self.drop_labels_below, 0, below=1),
            *check_choice("inference.precision", self.precision, PRECISIONS),
        ]
        refuse(problems)

    def plain(self) -> dict[str, Any]:
        """Return the settings as a plain dict, for ``results.json``."""
        return {**asdict(self), "scales": list(self.scales)}


@dataclass(frozen=True)
class Prediction:
    """What is predicted for one photograph.

    Attributes:
        mask: (H, W) uint8, class numbers, without CRF.
        mask_crf: the same with CRF; None where there is none.
        likely: (k, h, w) float32, probabilities after the CRF where there is one; at the photograph's size, or at that
            of ``Protocol.most_pixels`` for a larger one.
        classes: (k,) whose they are; the others have probability 0.
        num_classes: how many there are in all.
        seconds: wall time of the stages ``network`` and ``CRF``.
    """

    mask: np.ndarray
    mask_crf: np.ndarray | None
    likely: Tensor
    classes: Tensor
    num_classes: int
    seconds: dict[str, float]

    @property
    def masks(self) -> dict[str, np.ndarray]:
        """The masks ``without_crf`` and, where there is a CRF, ``with_crf``, the last one the best."""
        return {"without_crf": self.mask} | ({} if self.mask_crf is None else {"with_crf": self.mask_crf})

    @property
    def probs(self) -> Tensor:
        """The probabilities (C, h, w) float32 of all classes."""
        if len(self.classes) == self.num_classes:
            return self.likely
        return self.likely.new_zeros(self.num_classes, *self.likely.shape[1:]).index_copy_(0, self.classes, self.likely)


class Predictor:
    """A network with a protocol and a CRF: photographs to masks. Calls from several threads do not disturb each other.

    On a CPU a faster copy of the network computes the same but for rounding; on a GPU the photographs of several
    threads go through the network as a batch, and through the CRF one after the other, which bounds the memory.

    Args:
        network: in evaluation mode.
        protocol: see ``Protocol``.
        crf: ``(logits (1, C, H, W), image (1, 3, H, W) uint8) -> probs``, or None.
    """

    def __init__(self, network: SegmentationNet, protocol: Protocol, crf: CRF | None = None) -> None:
        self.network, self.protocol, self.crf = network, protocol, crf
        self.num_classes = len(network.class_names)
        self.device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
        fast = self.device.type == "cpu" and isinstance(network, TrunkNet) and not network.training
        self._fastest = fast_copy(network) if fast else network
        batches = self.device.type == "cuda"
        self._scores: Callable[[Tensor], Tensor] = Batched(self._pass) if batches else self._pass
        self._crf_turn: AbstractContextManager[Any] = threading.Lock() if batches else nullcontext()

    def __call__(self, photo: np.ndarray, allowed: Collection[int] | None = None) -> Prediction:
        """Predict one photograph (H, W, 3) uint8 RGB, of any size.

        Args:
            photo: the photograph.
            allowed: foreground classes that may be in it (its image-level labels); background always may. None: all.

        Raises:
            UserError: for an allowed class that the network does not have.
        """
        size = (photo.shape[0], photo.shape[1])
        watch = Stopwatch()
        with watch("network"):
            photo = self.working_copy(photo)
            probs = self.probabilities(photo, allowed)
            mask = resize_mask(labels(probs), size)
        mask_crf, classes = None, torch.arange(self.num_classes)
        with watch("CRF"):
            if self.crf is not None:
                probs, classes = self.refine(probs, photo, allowed)
                mask_crf = resize_mask(labels(probs, classes), size)
        return Prediction(mask, mask_crf, probs.cpu(), classes, self.num_classes, watch.seconds)

    def working_copy(self, photo: np.ndarray) -> np.ndarray:
        """Return ``photo`` (H, W, 3) uint8 itself, or one of ``most_pixels`` pixels where it is larger."""
        height, width = photo.shape[:2]
        factor = math.sqrt(self.protocol.most_pixels / (height * width))
        if factor >= 1:
            return photo
        size = max(1, int(width * factor)), max(1, int(height * factor))
        return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BILINEAR))

    def probabilities(self, photo: np.ndarray, allowed: Collection[int] | None = None) -> Tensor:
        """Return the network's probabilities (C, H, W) float32 of ``photo`` (H, W, 3) uint8, at its size.

        Classes that are not allowed have probability 0, and the others are scaled to a sum of 1.
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
            return total if allowed is None else self._restricted(total, allowed)

    def refine(self, probs: Tensor, photo: np.ndarray, allowed: Collection[int] | None = None) -> tuple[Tensor, Tensor]:
        """Return what the CRF makes of probabilities (C, H, W) of ``photo`` (H, W, 3) uint8: those (k, H, W) of the
        classes that take part, and their numbers (k,).

        Classes that are not allowed take no part, nor do those below ``drop_labels_below``.
        """
        assert self.crf is not None
        with torch.inference_mode(), self._crf_turn:
            permitted = None if allowed is None else self._allowed(allowed)
            classes = contenders(probs, permitted, self.protocol.drop_labels_below)
            return refine_contenders(probs, photo, self.crf, classes), classes

    def _pass(self, images: Tensor) -> Tensor:
        """Return the network's scores (B, C, h, w) of images (B, 3, S, S)."""
        bf16 = self.protocol.precision == "bf16"
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            return self._fastest(images)

    def _input_sizes(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        own = self.protocol.input_size
        height, width = size
        stretch = math.sqrt(height / width) if self.protocol.keep_ratio else 1.0
        sizes = []
        for scale in self.protocol.scales:
            sides = (own * scale * stretch, own * scale / stretch)
            # The network's own side is taken as it is.
            sizes.append(tuple(own if side == own else max(1, round((side - 1) / STEP)) * STEP + 1 for side in sides))
        return sizes  # type: ignore[return-value]

    def _allowed(self, allowed: Collection[int]) -> Tensor:
        strange = sorted(number for number in allowed if not 0 <= number < self.num_classes)
        if strange:
            raise UserError(f"Allowed classes {strange}: the network has classes 0..{self.num_classes - 1}.")
        keep = torch.zeros(self.num_classes, dtype=torch.bool)
        keep[[0, *allowed]] = True
        return keep

    def _restricted(self, probs: Tensor, allowed: Collection[int]) -> Tensor:
        probs = probs * self._allowed(allowed).to(probs.device)[:, None, None]
        return probs / probs.sum(0, keepdim=True).clamp_min(torch.finfo(probs.dtype).tiny)


def open_protocol(settings: Mapping[str, Any], network: SegmentationNet) -> Protocol:
    """Return the protocol of a ``conf/inference`` node, plain; ``input_size`` null means the network's own.

    Raises:
        UserError: for values out of range or of the wrong kind, or a network whose input size is unknown.
    """
    size = network.input_size if settings["input_size"] is None else settings["input_size"]
    try:
        return Protocol(**{**settings, "input_size": size})
    except TypeError as error:
        given = ", ".join(f"{key}={value}" for key, value in settings.items())
        raise UserError(f"These inference settings cannot be used ({error}): {given}.") from error


def open_predictor(config: Mapping[str, Any]) -> tuple[Predictor, dict[str, Any]]:
    """Return the predictor of a command's ``ckpt``, ``device``, ``inference`` and ``crf.test``, plain, and what
    ``results.json`` states of its protocol: ``inference`` and ``crf``.

    Raises:
        UserError: for a network, device or settings that cannot be used.
    """
    network = load_network(config["ckpt"]).to(pick_device(config["device"]))
    stage = config["crf"]["test"]
    predictor = Predictor(network, open_protocol(config["inference"], network), build_stage_crf(stage))
    crf = None if predictor.crf is None else {key: value for key, value in stage.items() if key != "gradient"}
    return predictor, {"inference": predictor.protocol.plain(), "crf": crf}
