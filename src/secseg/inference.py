"""Photograph in, mask out, at the photograph's own size; with and without CRF.

The defaults are the official test protocol: squeezed to the network's input with aligned corners, one forward pass,
softmax, probabilities enlarged with aligned corners, floored at 1e-5, CRF on their logarithms, argmax.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from secseg.crf import CRF, build_stage_crf
from secseg.data.transforms import evaluation_input
from secseg.errors import UserError, nearest
from secseg.loading import load_network
from secseg.networks import SegmentationNet
from secseg.resizing import resize_aligned, resize_mask

FLOOR = 1e-5
"""Floor of the probabilities before the CRF's logarithm (official test code)."""
STEP = 8
"""Input sides other than the network's own are multiples of this plus 1, as 321 is: image and mask corners meet."""


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

    Raises:
        UserError: for values out of range.
    """

    input_size: int = 321
    scales: tuple[float, ...] = (1.0,)
    mirror: bool = False
    keep_ratio: bool = False
    most_pixels: int = 2_000_000
    drop_labels_below: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", tuple(self.scales))
        if not self.scales or not all(0.1 <= scale <= 10 for scale in self.scales):
            raise UserError(f"scales={list(self.scales)}: give at least one number between 0.1 and 10.")
        if self.input_size < 1 or self.most_pixels < 1:
            raise UserError(
                f"input_size={self.input_size}, most_pixels={self.most_pixels}: both are whole numbers of at least 1."
            )
        if not 0 <= self.drop_labels_below < 1:
            raise UserError(f"drop_labels_below={self.drop_labels_below}: give a probability from 0 to below 1.")

    def plain(self) -> dict[str, Any]:
        """Return the settings as a plain dict, for ``results.json``."""
        return {**asdict(self), "scales": list(self.scales)}


@dataclass(frozen=True)
class Prediction:
    """What is predicted for one photograph.

    Attributes:
        mask: (H, W) uint8, class numbers, without CRF.
        mask_crf: the same with CRF; None where there is none.
        probs: (C, h, w) float32, after the CRF where there is one; at the photograph's size, or at that of
            ``Protocol.most_pixels`` for a larger one.
        network_seconds, crf_seconds: wall time of each stage.
    """

    mask: np.ndarray
    mask_crf: np.ndarray | None
    probs: Tensor
    network_seconds: float
    crf_seconds: float


class Predictor:
    """A network with a protocol and a CRF: photographs to masks. Calls from several threads do not disturb each other.

    Args:
        network: in evaluation mode.
        protocol: see ``Protocol``.
        crf: ``(logits (1, C, H, W), image (1, 3, H, W) uint8) -> probs``, or None.
    """

    def __init__(self, network: SegmentationNet, protocol: Protocol, crf: CRF | None = None) -> None:
        self.network, self.protocol, self.crf = network, protocol, crf
        self.num_classes = len(network.class_names)

    def __call__(self, photo: np.ndarray, allowed: Collection[int] | None = None) -> Prediction:
        """Predict one photograph (H, W, 3) uint8 RGB, of any size.

        Args:
            photo: the photograph.
            allowed: foreground classes that may be in it (its image-level labels); background always may. None: all.

        Raises:
            UserError: for an allowed class that the network does not have.
        """
        size = (photo.shape[0], photo.shape[1])
        photo = self.working_copy(photo)
        started = time.perf_counter()
        probs = self.probabilities(photo, allowed)
        mask = resize_mask(labels(probs), size)
        after_network = time.perf_counter()
        mask_crf = None
        if self.crf is not None:
            probs = self.refine(probs, photo, allowed)
            mask_crf = resize_mask(labels(probs), size)
        return Prediction(mask, mask_crf, probs.cpu(), after_network - started, time.perf_counter() - after_network)

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
                    scores = self.network(image.flip(-1) if mirrored else image)[0]
                    probs = full_size_probs(scores.flip(-1) if mirrored else scores, size)
                    total = probs if total is None else total.add_(probs)
                    passes += 1
            assert total is not None
            total.div_(passes) if passes > 1 else None
            return total if allowed is None else self._restricted(total, allowed)

    def refine(self, probs: Tensor, photo: np.ndarray, allowed: Collection[int] | None = None) -> Tensor:
        """Return what the CRF makes of probabilities (C, H, W) of ``photo`` (H, W, 3) uint8.

        Classes that are not allowed take no part, nor do those below ``drop_labels_below``: they have probability 0.
        """
        assert self.crf is not None
        with torch.inference_mode():
            keep = torch.ones(len(probs), dtype=torch.bool)
            if allowed is not None:
                keep = self._allowed(allowed)
            if self.protocol.drop_labels_below > 0:
                keep &= (probs.amax((1, 2)) >= self.protocol.drop_labels_below).cpu()
            if bool(keep.all()):
                return apply_crf(probs, photo, self.crf)
            kept = keep.nonzero()[:, 0].to(probs.device)
            out = torch.zeros_like(probs)
            out[kept] = apply_crf(probs[kept], photo, self.crf).to(out.dtype) if len(kept) > 1 else 1.0
            return out

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


def pick_device(name: str) -> torch.device:
    """Return the device of that name; ``auto`` is a GPU where there is one, else the CPU.

    Raises:
        UserError: for a name that is none, or a device that this machine does not have.
    """
    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    there = ["cpu", *(["cuda"] if gpus else []), *gpus, *(["mps"] if torch.backends.mps.is_available() else [])]
    if name == "auto":
        return torch.device(there[1] if len(there) > 1 else "cpu")
    if name not in there:
        raise UserError(f"device={name}: this machine has {', '.join(['auto', *there])}.{nearest(name, there)}")
    return torch.device(name)


def full_size_probs(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Softmax of scores (C, h, w), then enlarged with aligned corners to (C, H, W); in that order, as the official test
    code does."""
    return resize_aligned(torch.softmax(logits.float(), 0)[None], size)[0]


def apply_crf(probs: Tensor, photo: np.ndarray, crf: CRF) -> Tensor:
    """Refine probabilities (C, H, W) of ``photo`` (H, W, 3) uint8 with a CRF on their logarithms, floored at 1e-5."""
    image = torch.from_numpy(np.ascontiguousarray(photo.transpose(2, 0, 1)))[None].to(probs.device)
    return crf(probs.clamp(min=FLOOR).log()[None], image)[0]


def predict_masks(
    logits: Tensor, photos: Sequence[np.ndarray], crf: CRF | None = None
) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Return, for each photograph, its mask (H, W) uint8 without CRF, and the one with, where a CRF is given.

    Args:
        logits: (B, C, h, w), the network's scores.
        photos: B photographs, (H, W, 3) uint8 RGB, of any size.
        crf: ``(logits (1, C, H, W), image (1, 3, H, W) uint8) -> probs``. Images run side by side on the CPU's cores.
    """

    def one(scores: Tensor, photo: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        with torch.inference_mode():
            probs = full_size_probs(scores, (photo.shape[0], photo.shape[1]))
            refined = None if crf is None else labels(apply_crf(probs, photo, crf))
            return labels(probs), refined

    if crf is None or len(photos) == 1:
        return [one(scores, photo) for scores, photo in zip(logits, photos, strict=True)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, logits, photos))


def labels(probs: Tensor) -> np.ndarray:
    """Return the most probable class (H, W) uint8 of probabilities (C, H, W)."""
    return probs.argmax(0).to(torch.uint8).cpu().numpy()
