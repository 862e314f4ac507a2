"""Class activation maps and saliency of images, averaged over scales and mirror images, and their files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import Tensor

from secseg.cue_making.classifier import LocalizationNet
from secseg.data.images import read_image
from secseg.data.labels import Labels
from secseg.data.splits import ImageSet
from secseg.data.transforms import evaluation_input, mirror
from secseg.models.input_sizes import InputSizes
from secseg.training.feature_cache import FeatureCache
from secseg.utils.checksums import verify, with_checksum
from secseg.utils.errors import UserError
from secseg.utils.files import atomic_write
from secseg.utils.parallel import with_progress
from secseg.utils.resizing import resize_aligned


@dataclass(frozen=True)
class MapSettings:
    """How maps are computed.

    Attributes:
        scales: factors of the side of the network's input (less one pixel, since corners are aligned).
        mirror: average with the maps of the mirror image, mirrored back.
        grid: (h, w) of the maps.
    """

    scales: Sequence[float] = (1.0,)
    mirror: bool = False
    grid: tuple[int, int] = (41, 41)

    @property
    def flips(self) -> list[bool]:
        """Whether each pass at one scale is mirrored."""
        return [False, True] if self.mirror else [False]


class ImageMaps(NamedTuple):
    """The maps of one image, float32: the fields of ``CueInputs``."""

    maps: np.ndarray
    scores: np.ndarray
    highest: np.ndarray
    saliency: np.ndarray | None


def class_maps(
    network: LocalizationNet,
    image: np.ndarray,
    settings: MapSettings,
    features: Sequence[Sequence[Tensor]] | None = None,
) -> Tensor:
    """Return the class activation maps (K, h, w) float32 of an image, of any sign.

    The maps of each pass are brought to the grid with aligned corners and averaged without normalisation. They are in
    the unit of the scores at every size, so a scale counts by how strongly it supports a class.

    Args:
        network: in evaluation mode.
        image: (H, W, 3) uint8 RGB, of any size; squeezed to the network's square input.
        settings: scales, mirroring, grid.
        features: the trunk's levels (c, h, w) of the image at scale 1 and, with ``mirror``, of its mirror image; None
            to compute them.

    Raises:
        UserError: if the network has no class activation maps.
    """
    with torch.no_grad():
        passes, scales = [], settings.scales
        if features is not None:
            device = next(network.parameters()).device
            levels = [torch.stack(level).to(device) for level in zip(*features, strict=True)]
            passes = [network.activation_maps_of(levels)]
            scales = [scale for scale in scales if scale != 1]
        passes += [network.activation_maps(images) for images in _inputs(network, image, scales, settings)]
        return torch.cat([_unmirrored(resize_aligned(maps.float(), settings.grid)) for maps in passes]).mean(0).cpu()


def saliency_map(network: LocalizationNet, image: np.ndarray, settings: MapSettings) -> Tensor:
    """Return the saliency (h, w) float32 of an image, at least 0, with a mean of about 1.

    The saliency of each pass is divided by its mean (a saliency of 0 everywhere stays 0), brought to the grid with
    aligned corners and averaged. The division is needed because gradients are smaller the more grid cells the scores
    are pooled over. Arguments as ``class_maps``.
    """
    passes = []
    for images in _inputs(network, image, settings.scales, settings):
        saliency = network.saliency(images).float()[:, None]
        mean = saliency.mean((1, 2, 3), keepdim=True)
        passes.append(_unmirrored(resize_aligned(saliency / mean.where(mean > 0, 1.0), settings.grid)))
    return torch.cat(passes).mean(0)[0].cpu()


def trunk_features(
    network: LocalizationNet, path: Path, grid: tuple[int, int], cache: FeatureCache | None = None
) -> np.ndarray:
    """Return the features (c, h, w) float32 of the network's trunk on the grid, of the image at scale 1.

    All levels are brought to the grid with aligned corners and concatenated.

    Args:
        network: in evaluation mode.
        path: the image file.
        grid: (h, w) of the features.
        cache: with the features of this trunk, from which they are read; None to compute them.
    """
    with torch.no_grad():
        if cache is None:
            levels = network.features(evaluation_input(read_image(path), network.input_size)[None])
        else:
            levels = [level[None] for level in cache.read(path)]
        return torch.cat([resize_aligned(level.float().cpu(), grid) for level in levels], 1)[0].numpy()


def write_maps(
    folder: Path,
    images: ImageSet,
    labels: Labels,
    networks: Sequence[LocalizationNet],
    settings: MapSettings,
    workers: int | None = None,
    cache: FeatureCache | None = None,
    earlier: Sequence[LocalizationNet] = (),
) -> None:
    """Compute and write the maps of the images that do not have a file in ``folder`` yet.

    Args:
        folder: of the files, ``<name>.safetensors``: the fields of ``ImageMaps``, with the image's classes alone, in
            half precision; scores in float32.
        images, labels: the images, and the classes of each, from 1 to K.
        networks: the foreground network and, where saliency is needed, the background network, in evaluation mode.
        settings: scales, mirroring, grid.
        workers: images at once; None for one per core.
        cache: the features that the foreground network was trained on, for the pass at scale 1; they have the
            training's resizing.
        earlier: the foreground network at earlier steps of its training, in evaluation mode. Each map is then the
            highest value, in each grid cell, over these networks and the foreground network (OAA).

    Raises:
        UserError: for maps that are not finite, images that cannot be read, a folder that cannot be written.
    """

    def write(item: tuple[str, Path]) -> None:
        name, path = item
        features = None
        if cache is not None and 1 in settings.scales:
            features = [cache.read(path, mirrored) for mirrored in settings.flips]
        arrays = compute_maps(networks, read_image(path), labels[name], settings, features, earlier)
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise UserError(
                f"The maps of {path} are not finite, or too large for half precision: the network did not learn. Train "
                "it at a lower learning rate (localization.<network>.optim.optimizer.lr)."
            )
        with atomic_write(map_file(folder, name)) as temporary:
            temporary.write_bytes(with_checksum(save(arrays)))

    with_progress("maps", write, missing_maps(folder, images), workers)


def missing_maps(folder: Path, images: ImageSet) -> list[tuple[str, Path]]:
    """Return name and file of each image that has no maps in ``folder`` yet."""
    items = zip(images.names, images.images, strict=True)
    return [(name, path) for name, path in items if not map_file(folder, name).is_file()]


def read_maps(folder: Path, name: str, labels: Sequence[int], classes: int) -> ImageMaps:
    """Return the maps of the image ``name``, with these labels of K ``classes``, from its file in ``folder``.

    Raises:
        UserError: if the file is missing or damaged.
    """
    path = map_file(folder, name)
    try:
        verify(path)
        arrays = load_file(path)
        finite = all(array.dtype.kind == "f" and np.isfinite(array).all() for array in arrays.values())
        wide = {key: array.astype(np.float32) for key, array in arrays.items()}
        own, own_scores, highest, saliency = wide["maps"], wide["scores"], wide["highest"], wide.get("saliency")
        grids = own.shape[1:] == highest.shape and (saliency is None or saliency.shape == highest.shape)
        fitting = grids and highest.ndim == 2 and highest.size and own.shape[:1] == own_scores.shape == (len(labels),)
        if not (finite and fitting):
            raise ValueError(", ".join(f"{key} {array.shape}" for key, array in arrays.items()))
        maps, scores = np.zeros((classes, *highest.shape), np.float32), np.zeros(classes, np.float32)
        at = [number - 1 for number in labels]
        maps[at], scores[at] = own, own_scores
        return ImageMaps(maps, scores, highest, saliency)
    except (OSError, SafetensorError, KeyError, ValueError, IndexError) as error:
        advice = "Delete the file and run the command again."
        raise UserError(f"The maps {path} cannot be read ({error}). {advice}") from error


def map_file(folder: Path, name: str) -> Path:
    """Return the file with the maps of the image ``name``."""
    return folder / f"{name}.safetensors"


def compute_maps(
    networks: Sequence[LocalizationNet],
    image: np.ndarray,
    labels: Sequence[int],
    settings: MapSettings,
    features: Sequence[Sequence[Tensor]] | None,
    earlier: Sequence[LocalizationNet] = (),
) -> dict[str, np.ndarray]:
    """Return what the file of an image holds; arguments as for ``write_maps`` and ``class_maps``. The scores are those
    of the foreground network alone."""
    foreground, *background = networks
    maps = class_maps(foreground, image, settings, features)
    at = [number - 1 for number in labels]
    scores = foreground.head.pool(maps[at])
    for network in earlier:
        maps = maps.maximum(class_maps(network, image, settings, features))
    arrays: dict[str, np.ndarray] = {
        "maps": maps[at].numpy().astype(np.float16),
        "scores": scores.numpy().astype(np.float32),
        "highest": maps.amax(0).numpy().astype(np.float16),
    }
    for network in background:
        arrays["saliency"] = saliency_map(network, image, settings).numpy().astype(np.float16)
    return arrays


def _inputs(
    network: LocalizationNet, image: np.ndarray, scales: Sequence[float], settings: MapSettings
) -> Iterator[Tensor]:
    """Yield one batch for each scale: the image and, with ``mirror``, its mirror image."""
    sizes = InputSizes(network.trunk)
    for scale in scales:
        # So the corner pixels' centres stay corners: 321 times a half is 161, whose grid of 21 is every second of 41.
        side = 1 + round(scale * (network.input_size - 1))
        one = evaluation_input(image, sizes.nearest(side, "cues.scales"))
        yield torch.stack([mirror(one, flip) for flip in settings.flips])


def _unmirrored(maps: Tensor) -> Tensor:
    """Mirror the second of two maps (B, c, h, w) back."""
    return torch.stack([mirror(one, flip) for one, flip in zip(maps, [False, True], strict=False)])
