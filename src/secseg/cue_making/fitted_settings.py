"""Settings of the cues that are ``auto``: they depend on whether the labels can show what background is."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any

from secseg.data.datamodule import ImageDataModule
from secseg.models.fitted_input import fit_input

log = logging.getLogger(__name__)

#: Share of each image that must be background if the labels cannot show what background is.
BACKGROUND_SHARE = 0.8
PARTS = ("foreground", "background")
#: ``cues.share`` and ``cues.smooth``: without and with a background share. With it, low maps are reliable background:
#: three quarters of that share become cues, in finer detail.
CUES = {"share": (0.1, 0.75 * BACKGROUND_SHARE), "smooth": (4.0, 1.0)}


def without_auto(config: Mapping[str, Any], lacks_background: bool) -> dict[str, Any]:
    """Return ``conf/make_cues.yaml`` with ``auto`` replaced in all settings but those of the networks' input.

    Args:
        config: plain.
        lacks_background: see ``ImageDataModule.lacks_background``.
    """
    fitted: dict[str, Any] = copy.deepcopy(dict(config))
    share = BACKGROUND_SHARE if lacks_background else None
    for part in PARTS:
        node = fitted["localization"][part]
        if node["background_share"] == "auto":
            node["background_share"] = share
        share = node["background_share"]  # what is given for the foreground network holds for the other one, too
        head = node["network"]["head"]
        if head.get("relative") == "auto":
            head["relative"] = node["background_share"] is not None
    pushed = fitted["localization"]["foreground"]["background_share"] is not None
    for key, choices in CUES.items():
        if fitted["cues"].get(key) == "auto":
            fitted["cues"][key] = choices[pushed]
    return fitted


def fit_to_data(config: Mapping[str, Any], data: ImageDataModule) -> dict[str, Any]:
    """Return ``conf/make_cues.yaml`` with each ``auto`` replaced by what fits the images and labels.

    Raises:
        UserError: for an image that cannot be read.
    """
    fitted = without_auto(config, data.lacks_background and config["maps"] is None)
    for part in PARTS:
        node = fitted["localization"][part]
        node["network"] = fit_input(node["network"], data.train_images.images)
    foreground = fitted["localization"]["foreground"]
    log.info("Input: %s x %s pixels.", *[foreground["network"]["input_size"]] * 2)
    if foreground["background_share"] is not None:
        asked = config["localization"]["foreground"]["background_share"]
        log.info("%s", _background_line(foreground["background_share"], asked == "auto", data))
    return fitted


def _background_line(share: float, auto: bool, data: ImageDataModule) -> str:
    """Return what the share of background does, why it was chosen if it was ``auto``, and how to change it."""
    setting = f"localization.foreground.background_share={share:g}"
    effect = f"the classifier takes the least likely {100 * share:.0f} % of each image for background"
    if not auto:
        return f"{effect[:1].upper()}{effect[1:]} ({setting})."
    labels, names = data.image_labels(), data.train_images.names
    alone = sum(not labels[name] for name in names)
    few = "None" if alone == 0 else f"Only {alone}"
    return (
        f"{few} of {len(names)} training images {'shows' if alone < 2 else 'show'} the background alone, so {setting} "
        f"is chosen: {effect}. Set a lower share if objects cover more of your images, or null if they fill them."
    )
