"""What the initial weights of a trunk were trained on, and with which supervision: a part of each figure's protocol."""

from __future__ import annotations

import re
from pathlib import Path

CLASSES = "ImageNet classes"
SELF_SUPERVISED = "none (self-supervised)"
TEXT = "text (images and their captions)"
MASKS = "masks (SA-1B)"
HASHTAGS = "hashtags of photographs"
UNKNOWN = "not known"
RANDOM = "no pretraining (random weights)"

_TEXT = re.compile(r"clip|siglip|openai|laion|datacomp|webli|dfn\d|aimv2|(?<=\.)pe\b")
_SELF_SUPERVISED = re.compile(r"dino|lvd\d|(?<![a-z])(fc)?mae(?![a-z])|ijepa|simmim|moco|swav|byol|simclr|data2vec")
_MASKS = re.compile(r"sa1b|(?<![a-z])sam(?![a-z])")
_HASHTAGS = re.compile(r"(?<![a-z])(s?wsl|swag|ig1b)(?![a-z])")
_CLASSES = re.compile(r"in1k|in12k|in21k|in22k|imagenet|tv_")
_FINE_TUNED = re.compile(r"_ft(?=_|$)")


def pretraining_of(weights: str | None, known: str) -> str:
    """Return what a trunk was pretrained on, as text.

    Args:
        weights: the setting of the trunk: the name of weights, the path of a file, or None.
        known: what the weights of this name were trained on.
    """
    if weights is None:
        return RANDOM
    is_name = weights.startswith("imagenet") and not Path(weights).suffix
    return known if is_name else f"file {Path(weights).name}, {UNKNOWN}"


def timm_pretraining(model: str) -> str:
    """Return what timm's own weights of a model were trained on, by the model's name and its tag.

    Names of timm state the data (``in1k``) and the method (``dinov2``, ``mae``, ``clip``). Of weights that were
    fine-tuned on classes (``ft_in1k``), both are named.

    Args:
        model: name in timm, ``vit_base_patch16_224.dino``; without a tag, timm's default tag counts.
    """
    import timm  # slow to import, and not needed to load a network without a timm trunk

    name, _, tag = model.lower().partition(".")
    if not tag:
        config = timm.get_pretrained_cfg(name, allow_unregistered=False) if name in timm.list_models() else None
        tag = (config.tag if config is not None else "") or ""
    full = f"{name}.{tag}"
    if name.startswith("eva") and "mim" in tag:
        first = TEXT  # EVA's targets are features of CLIP
    else:
        kinds = ((_TEXT, TEXT), (_SELF_SUPERVISED, SELF_SUPERVISED), (_MASKS, MASKS), (_HASHTAGS, HASHTAGS))
        first = next((kind for pattern, kind in kinds if pattern.search(full)), "")
    if not first:
        return CLASSES if _CLASSES.search(tag) else UNKNOWN
    return f"{first}, then {CLASSES}" if _FINE_TUNED.search(f"_{tag}") else first


def stated_pretraining(found: str, stated: str | None) -> str:
    """Return what a trunk was pretrained on, with what the user states of the weights in a file."""
    return found if stated is None or not found.endswith(UNKNOWN) else f"{found.removesuffix(UNKNOWN)}stated: {stated}"
