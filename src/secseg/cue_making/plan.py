"""What the maps cost in time and space: measured on one image before the networks are trained."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from secseg.cue_making.classifier import LocalizationNet
from secseg.cue_making.maps import MapSettings, compute_maps, missing_maps
from secseg.data.images import read_image
from secseg.data.labels import Labels
from secseg.data.splits import ImageSet
from secseg.training.feature_cache import FeatureCache
from secseg.utils.files import check_space, existing
from secseg.utils.progress import timed


def announce_maps(
    folder: Path,
    images: ImageSet,
    labels: Labels,
    networks: Sequence[LocalizationNet],
    settings: MapSettings,
    cache: FeatureCache | None,
    earlier: Sequence[LocalizationNet] = (),
) -> None:
    """Log the time and space of the maps that are missing, at the cost of an image with the most labels.

    Args:
        folder, images, labels, settings, cache: as for ``write_maps``; the maps of at least one image are missing.
        networks, earlier: as for ``write_maps``, but they need not be trained.

    Raises:
        UserError: if the disk is too small for the maps and, if they go to the same disk, the missing features.
    """
    missing = missing_maps(folder, images)
    name, path = max(missing, key=lambda item: len(labels[item[0]]))
    features, reserved = None, 0
    if cache is not None:
        one = cache.trial(path, networks[0].features)
        if 1 in settings.scales:
            features = [[level[at] for level in one.levels] for at in range(len(settings.flips))]
        if os.stat(existing(cache.folder)).st_dev == os.stat(existing(folder)).st_dev:
            reserved = len(cache.missing(images.images)) * one.size
    image = read_image(path)
    arrays, seconds = timed(lambda: compute_maps(networks, image, labels[name], settings, features, earlier))
    count, size = len(missing), sum(array.nbytes for array in arrays.values())
    advice = "Choose another folder with out=, or free some space."
    check_space(f"The maps of {count} images", count * size, folder, advice, count * seconds, reserved)
