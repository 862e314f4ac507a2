"""Computed maps on disk: a small file an image, in half precision, with the maps of the image's classes alone."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from secseg.cue_making.classifier import LocalizationNet
from secseg.cue_making.heads import ActivationMapHead
from secseg.cue_making.maps import class_maps, saliency_map
from secseg.data.images import read_image
from secseg.data.labels import Labels
from secseg.data.splits import ImageSet
from secseg.training.feature_cache import FeatureCache
from secseg.utils.checksums import verify, with_checksum
from secseg.utils.errors import UserError
from secseg.utils.files import atomic_write, remove_leftovers
from secseg.utils.parallel import results_of
from secseg.utils.progress import ImageMeter

SUFFIX = ".safetensors"


def write_maps(
    folder: Path,
    images: ImageSet,
    labels: Labels,
    foreground: LocalizationNet,
    background: LocalizationNet | None,
    scales: Sequence[float] = (1.0,),
    mirror: bool = False,
    grid: tuple[int, int] = (41, 41),
    workers: int | None = None,
    cache: FeatureCache | None = None,
) -> None:
    """Compute and write the maps of the images that have no file in ``folder`` yet.

    Args:
        folder: of the files, ``<name>.safetensors``: ``maps`` (k, h, w) and ``scores`` (k,), each map pooled as the
            network pools it, of the image's classes; ``saliency`` (h, w), how much a location counts as an object: the
            background network's saliency or, where there is none, the highest of all K maps.
        images: the images.
        labels: the classes of each, from 1 to K.
        foreground, background: networks, in evaluation mode.
        scales, mirror, grid: as for ``class_maps``.
        workers: images at once; None for one a core.
        cache: the foreground trunk's features as it was trained on them, where they are kept: the pass at scale 1 reads
            them, which have the training's resizing.

    Raises:
        UserError: for maps that are not finite, images that cannot be read, a folder that cannot be written.
    """
    for place in {_file(folder, name).parent for name in images.names}:
        if place.is_dir():
            remove_leftovers(place, (SUFFIX,))
    head = foreground.head
    assert isinstance(head, ActivationMapHead)

    def one(item: tuple[str, Path]) -> None:
        name, path = item
        photo, features = read_image(path), None
        if cache is not None and 1 in scales:
            features = [cache.read(path, mirrored) for mirrored in ([False, True] if mirror else [False])]
        maps = class_maps(foreground, photo, scales, mirror, grid, features)
        own = maps[[number - 1 for number in labels[name]]]
        saliency = maps.amax(0) if background is None else saliency_map(background, photo, scales, mirror, grid)
        arrays: dict[str, np.ndarray] = {
            "maps": own.numpy().astype(np.float16),
            "scores": head.pool(own).numpy().astype(np.float32),
            "saliency": saliency.numpy().astype(np.float16),
        }
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise UserError(
                f"The maps of {path} are not finite, or too large for half precision: a network did not learn. Train "
                "it at a lower learning rate (localization.<network>.optim.optimizer.lr)."
            )
        with atomic_write(_file(folder, name)) as temporary:
            temporary.write_bytes(with_checksum(save(arrays)))

    missing = [
        (name, path)
        for name, path in zip(images.names, images.images, strict=True)
        if not _file(folder, name).is_file()
    ]
    with ImageMeter("maps", len(missing)) as meter, closing(results_of(one, missing, workers)) as results:
        for _ in results:
            meter.update()


def read_maps(
    folder: Path, name: str, labels: Sequence[int], classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the maps (K, h, w), scores (K,) and saliency (h, w) of an image, float32; 0 for classes that it has not.

    Args:
        folder: as for ``write_maps``.
        name: of the image.
        labels: its classes.
        classes: K.

    Raises:
        UserError: where the file is missing or damaged.
    """
    path = _file(folder, name)
    try:
        verify(path)
        arrays = load_file(path)
        own, own_scores, saliency = arrays["maps"], arrays["scores"], arrays["saliency"]
        floats = all(array.dtype.kind == "f" and np.isfinite(array).all() for array in (own, own_scores, saliency))
        fitting = own.shape == (len(labels), *saliency.shape) and own_scores.shape == own.shape[:1]
        if not (floats and fitting and saliency.ndim == 2 and saliency.size):
            raise ValueError(f"maps {own.shape}, scores {own_scores.shape}, saliency {saliency.shape}")
        maps, scores = np.zeros((classes, *own.shape[1:]), np.float32), np.zeros(classes, np.float32)
        at = [number - 1 for number in labels]
        maps[at], scores[at] = own, own_scores
        return maps, scores, saliency.astype(np.float32)
    except (OSError, SafetensorError, KeyError, ValueError, IndexError) as error:
        raise UserError(
            f"The maps {path} cannot be read ({error}). Remove the file and run stage=maps again."
        ) from error


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}{SUFFIX}"
