"""Weights of timm's models: downloaded, or from a file with timm's names or those of its authors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import Tensor

from secseg.models.timm_models import family_of
from secseg.models.weights import check_state_dict, download
from secseg.utils.errors import UserError


def downloaded(model: str, size: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights that timm downloads for the whole model, at the size of the arguments ``size``.

    Raises:
        UserError: if timm has none, or the download fails.
    """
    config = family_of(model).config
    hub, address = config.get("hf_hub_id"), config.get("url")
    address = f"https://huggingface.co/{hub}" if hub else address
    if not address:
        raise UserError(f"timm has no weights for {model}: give backbone.trunk.weights=<path>, or null.")
    whole = download(lambda: timm.create_model(model, pretrained=True, **size), f"timm's {model}", address)
    return whole.state_dict()


def fitted(state: dict[str, Tensor], model: str, size: Mapping[str, Any], what: str) -> dict[str, Tensor]:
    """Return the weights of a file with timm's names, and position embeddings for the arguments ``size``.

    Weights that do not fit the whole model as they are go through timm's own filter of the family
    (``checkpoint_filter_fn``), with and without their classifier.

    Raises:
        UserError: if they do not fit then, either.
    """
    with torch.device("meta"):
        wanted = timm.create_model(model, **size).state_dict()
    if {name: tensor.shape for name, tensor in state.items()} == {name: t.shape for name, t in wanted.items()}:
        return state
    classifier = family_of(model).config.get("classifier") or ()
    classifier = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    features = {k: v for k, v in state.items() if k.rpartition(".")[0] not in classifier}
    for given, options in ((state, {}), (features, {"num_classes": 0})):
        if (loaded := _filtered(given, model, {**size, **options})) is not None:
            return loaded
    check_state_dict(state, wanted, what)
    raise UserError(f"The weights of the {what} do not fill all tensors of timm's {model}. Use other weights.")


def _filtered(state: dict[str, Tensor], model: str, options: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """Return the whole model's weights after timm's filter; None if some are missing, unknown or of other shapes.

    For a few models timm does not check this. Tensors that a file does not have are then drawn, and differ between two
    models.
    """
    loaded = []
    for _ in range(2):
        source = {"state_dict": dict(state), "classifier": None}  # None: it is checked like any other tensor
        try:
            whole = timm.create_model(model, pretrained=True, pretrained_cfg_overlay=source, **options)
        except Exception:  # each filter refuses strange files in its own way
            return None
        loaded.append(whole.state_dict())
    first, second = loaded
    return first if all(torch.equal(tensor, second[name]) for name, tensor in first.items()) else None
