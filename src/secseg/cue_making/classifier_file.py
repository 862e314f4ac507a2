"""The file of a trained localization network: safetensors, whose metadata say how to build it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from secseg.cue_making.classifier import LocalizationNet, build_localization_net
from secseg.cue_making.heads import ScoreHead
from secseg.models.files.load import build_checked, check_parts
from secseg.models.files.model_file import read_normalization, without_first_weights, write_network
from secseg.utils.checksums import verify
from secseg.utils.errors import UserError

FORMAT, VERSION = "secseg.classifier", 1
_NODE = ("input_size", "freeze", "trunk", "head")


def save_localization(path: str | Path, network: LocalizationNet, node: Mapping[str, Any]) -> None:
    """Write the weights of ``network`` and what is needed to build it again, whole or not at all.

    Args:
        path: the file, ``.safetensors``.
        network: its weights, class names and normalisation are kept.
        node: its node of ``conf/localization``; where the trunk's first weights came from is left out.

    Raises:
        UserError: where it cannot be written.
    """
    stored = without_first_weights({key: node[key] for key in _NODE})
    write_network(path, network, FORMAT, {"version": VERSION, "network": stored})


def load_localization(path: str | Path) -> LocalizationNet:
    """Return a network of ``save_localization``, in evaluation mode, without running code from the file.

    Raises:
        UserError: where there is none, it is damaged, holds something else, or was written by a newer version.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"There is no localization network {path}. Check the path, or train one.")
    try:
        verify(path)
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"The localization network {path} cannot be read: {error}. It is damaged; train it again."
        ) from error
    if FORMAT not in metadata:
        raise UserError(f"{path} holds tensors that are no localization network. Give a file of one that was trained.")
    try:
        header = json.loads(metadata[FORMAT])
        if header["version"] != VERSION:
            raise UserError(
                f"{path} has format {header['version']}; this version of secseg reads {VERSION}. Install a newer one."
            )
        node = {key: header["network"][key] for key in _NODE}
        names = tuple(str(name) for name in header["class_names"])
        normalization = read_normalization(header["normalization"])
        check_parts(node, ScoreHead, f"localization network {path}")
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"The description of the network in {path} is damaged: {error!r}. Train it again.") from error
    network = build_checked(
        lambda: build_localization_net(node, names, weights=False), state, f"localization network {path}"
    )
    network.trunk.normalization = normalization
    return network.eval()
