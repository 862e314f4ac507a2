"""Maps of a photograph, averaged over scales and mirror images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from secseg.cue_making.classifier import LocalizationNet
from secseg.data.transforms import evaluation_input, mirror
from secseg.utils.errors import UserError
from secseg.utils.resizing import resize_aligned


def class_maps(
    network: LocalizationNet,
    image: np.ndarray,
    scales: Sequence[float] = (1.0,),
    mirror: bool = False,
    grid: tuple[int, int] = (41, 41),
    features: Sequence[Sequence[Tensor]] | None = None,
) -> Tensor:
    """Return the class activation maps (K, h, w) float32 of a photograph, of any sign.

    Each pass's maps are brought to ``grid`` with aligned corners and averaged as they are, without normalisation: they
    are in the unit of the scores at every size, so that a scale counts by how strongly it speaks for a class.

    Args:
        network: in evaluation mode.
        image: (H, W, 3) uint8 RGB, of any size; squeezed to the network's square input.
        scales: factors of the input's side (less one pixel, since corners are aligned).
        mirror: average with the maps of the mirror image, mirrored back.
        grid: (h, w).
        features: the trunk's levels (c, h, w) of the image at scale 1 and, with ``mirror``, of its mirror image, where
            they are known: they are not computed again.

    Raises:
        UserError: for a scale out of range, or a network without class activation maps.
    """
    check_scales(scales)
    with torch.no_grad():
        passes = [] if features is None else [_joined_maps(network, features)]
        others = [scale for scale in scales if features is None or scale != 1]
        passes += [network.activation_maps(images) for images in _inputs(network, image, others, mirror)]
        return torch.cat([_unmirrored(resize_aligned(maps.float(), grid)) for maps in passes]).mean(0).cpu()


def saliency_map(
    network: LocalizationNet,
    image: np.ndarray,
    scales: Sequence[float] = (1.0,),
    mirror: bool = False,
    grid: tuple[int, int] = (41, 41),
) -> Tensor:
    """Return the saliency (h, w) float32 of a photograph, at least 0, with a mean of about 1.

    Each pass's saliency is divided by its mean (one that is 0 everywhere stays so), brought to ``grid`` with aligned
    corners and averaged: gradients are the smaller the more locations the scores are pooled over. Arguments and errors
    as ``class_maps``.
    """
    check_scales(scales)
    passes = []
    for images in _inputs(network, image, scales, mirror):
        saliency = network.saliency(images).float()[:, None]
        mean = saliency.mean((1, 2, 3), keepdim=True)
        passes.append(_unmirrored(resize_aligned(saliency / mean.where(mean > 0, 1.0), grid)))
    return torch.cat(passes).mean(0)[0].cpu()


def check_scales(scales: Sequence[float]) -> None:
    """Make sure that there is a scale, and each is between 0.1 and 10.

    Raises:
        UserError: where not.
    """
    if not scales or not all(0.1 <= scale <= 10 for scale in scales):
        raise UserError(f"scales={list(scales)}: give at least one number between 0.1 and 10.")


def _joined_maps(network: LocalizationNet, features: Sequence[Sequence[Tensor]]) -> Tensor:
    """Return the maps (M, K, h, w) of the levels of M images."""
    device = next(network.parameters()).device
    return network.activation_maps_of([torch.stack(level).to(device) for level in zip(*features, strict=True)])


def _inputs(network: LocalizationNet, image: np.ndarray, scales: Sequence[float], mirrored: bool) -> Iterator[Tensor]:
    """Yield one batch a scale: the image and, where asked for, its mirror image."""
    for scale in scales:
        # So the corner pixels' centres stay corners: 321 times a half is 161, whose grid of 21 is every second of 41.
        one = evaluation_input(image, 1 + round(scale * (network.input_size - 1)))
        yield torch.stack([mirror(one, flip) for flip in ([False, True] if mirrored else [False])])


def _unmirrored(maps: Tensor) -> Tensor:
    """Mirror the second of two maps (B, c, h, w) back."""
    return torch.stack([mirror(one, flip) for one, flip in zip(maps, [False, True], strict=False)])
