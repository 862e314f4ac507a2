"""The input of a network, chosen by the size of the images: ``input_size: auto``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from secseg.data.images import image_size
from secseg.models.timm_models import family_of

#: Side of the input, output stride and levels of the trunk, which give 41 x 41 maps: for images of up to so many pixels
#: along the longest side. More pixels would only enlarge such images, and features take four times as long.
INPUTS = ((321.0, 321, 16, (2, 3, 4)), (np.inf, 641, 32, (3, 4)))

#: The trunk whose models have different strides.
TIMM = "secseg.models.timm_trunk.TimmTrunk"

#: Cells along a side of the maps.
GRID = 41

#: Number of images whose sizes are looked at.
LOOKED_AT = 200


def fit_input(network: Mapping[str, Any], images: Sequence[Path]) -> dict[str, Any]:
    """Return a network's node with ``auto`` replaced, in ``input_size``, and in the trunk's ``output_stride`` and
    ``levels``. Models of timm get an input that gives them 41 x 41 cells, too.

    Args:
        network: a node with ``input_size`` and ``trunk``, of ``conf/backbone`` or ``conf/localization``.
        images: the training images, at least one; the median of their longest sides decides.

    Raises:
        UserError: for an image that cannot be read.
    """
    trunk = network["trunk"]
    nodes = {"input_size": network["input_size"], **{key: trunk.get(key) for key in ("output_stride", "levels")}}
    if "auto" not in nodes.values():
        return dict(network)
    looked_at = [images[at] for at in np.linspace(0, len(images) - 1, min(LOOKED_AT, len(images))).astype(int)]
    side = float(np.median([max(image_size(path)) for path in looked_at]))
    _, *fitting = next(choice for choice in INPUTS if side <= choice[0])
    if trunk.get("_target_") == TIMM and trunk["model"]:
        strides = [stage["reduction"] for stage in family_of(trunk["model"]).stages]
        fitting = list(_for_timm(strides, side <= INPUTS[0][0]))
    chosen = {
        key: (list(fit) if isinstance(fit, tuple) else fit) if value == "auto" else value
        for (key, value), fit in zip(nodes.items(), fitting, strict=True)
    }
    size = chosen.pop("input_size")
    return {**network, "input_size": size, "trunk": {**trunk, **{k: v for k, v in chosen.items() if k in trunk}}}


def _for_timm(strides: Sequence[int], small: bool) -> tuple[int, int | None, tuple[int, ...] | None]:
    """Return the input, output stride and levels of a timm model that give 41 x 41 cells.

    Args:
        strides: of all levels of the model.
        small: whether the images are small (see ``INPUTS``).
    """
    if len(set(strides)) == 1:  # a plain transformer
        return GRID * strides[0], None, None
    finest = 8 if small else 16
    undilated = None if small or max(strides) > 32 else max(strides)
    return GRID * finest, undilated, tuple(level for level, stride in enumerate(strides) if stride >= finest)
