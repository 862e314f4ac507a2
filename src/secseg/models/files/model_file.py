"""The file of a network: safetensors whose metadata describe the network that the weights belong to."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

import secseg
from secseg.crf import AUTO
from secseg.models.network import TrunkNet
from secseg.models.normalization import Normalization
from secseg.utils.checksums import verify, with_checksum
from secseg.utils.errors import UserError
from secseg.utils.files import atomic_write

NAME = "model.safetensors"
FORMAT, VERSION = "secseg.network", 1
_PARTS = ("input_size", "freeze", "trunk", "head")


class StoredNetwork(NamedTuple):
    """The parts of a network, as a file holds them.

    Attributes:
        node: what the network is built from: a node of ``conf/backbone``, or a network of ``conf/localization``. With
            the settings ``AUTO`` of ``crf.test`` that the run had.
        normalization: the input that its weights expect; None if the options of the trunk determine it.
    """

    node: Mapping[str, Any]
    class_names: tuple[str, ...]
    state: dict[str, Tensor]
    normalization: Normalization | None = None


def write_model(path: str | Path, network: TrunkNet, node: Mapping[str, Any]) -> None:
    """Write the weights of ``network`` and what is needed to build it again, as a whole or not at all.

    ``node`` is what it was built from (see ``StoredNetwork``). The source of the trunk's initial weights is left out.
    """
    header = {
        "version": VERSION,
        "kind": network.kind,
        "network": {
            **{key: node[key] for key in ("name", *AUTO, *_PARTS) if key in node},
            "trunk": {key: None if key == "weights" else value for key, value in node["trunk"].items()},
        },
        "class_names": network.class_names,
        "normalization": asdict(network.trunk.normalization),
        "written_with": secseg.__version__,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with atomic_write(path) as temporary:
        temporary.write_bytes(with_checksum(save(tensors, {FORMAT: json.dumps(header, sort_keys=True)})))


def is_safetensors(path: Path) -> bool:
    """Return whether a file starts as safetensors does: with the length of a JSON header, then the header."""
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def read_model(path: Path, kind: str) -> StoredNetwork:
    """Read a file of ``write_model`` with a network of this ``kind`` (see ``TrunkNet``), without running code from it.

    Raises:
        UserError: if the file is missing or damaged, holds something else, or was written by a newer version.
    """
    if not path.is_file():
        raise UserError(f"There is no {kind} network {path}. Check the path.")
    try:
        verify(path)
        with safe_open(path, "pt") as file:
            stored = _described(file.metadata() or {}, path, kind)
            return stored._replace(state={name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"The {kind} network {path} cannot be read: {error}. The file is damaged: fetch it or make it again."
        ) from error


def _described(metadata: Mapping[str, str], path: Path, kind: str) -> StoredNetwork:
    if "secseg.cues" in metadata:
        raise UserError(f"{path} holds localization cues. Give the file of a {kind} network.")
    if FORMAT not in metadata:
        raise UserError(
            f"{path} holds tensors that do not say which network they belong to. Give the file of a {kind} network."
        )
    try:
        header = json.loads(metadata[FORMAT])
        if (version := header["version"]) != VERSION:
            raise UserError(f"{path} has format {version}, but this version of secseg reads {VERSION}. Update secseg.")
        if (other := header["kind"]) != kind:
            raise UserError(f"{path} holds a {other} network. Give the file of a {kind} network.")
        normalization = _normalization(header["normalization"])
        return describe(header["network"], header["class_names"], {}, path)._replace(normalization=normalization)
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"The description of the network in {path} is damaged: {error!r}. Make it again.") from error


def _normalization(given: Mapping[str, Any]) -> Normalization:
    """Return the normalisation that ``asdict`` turned into a dict."""
    normalization = Normalization(tuple(given["mean"]), tuple(given["std"]), given["order"])
    numbers = [*normalization.mean, *normalization.std]
    if len(normalization.mean) != 3 or len(normalization.std) != 3 or normalization.order not in ("rgb", "bgr"):
        raise ValueError("normalization is not that of three channels")
    if not all(math.isfinite(number) for number in numbers) or 0 in normalization.std:
        raise ValueError("normalization is not finite")
    return normalization


def describe(node: Any, class_names: Any, state: dict[str, Tensor], path: Path) -> StoredNetwork:
    """Check a file's description of its network, as far as possible without building the network."""
    whole = isinstance(node, Mapping) and all(key in node for key in _PARTS)
    whole = whole and isinstance(node["trunk"], Mapping) and isinstance(node["head"], Mapping)
    whole = whole and type(node["input_size"]) is int and node["input_size"] > 0
    named = isinstance(class_names, list | tuple) and all(isinstance(name, str) for name in class_names)
    if not (whole and named):
        raise UserError(f"The description of the network in {path} is damaged or incomplete. Make it again.")
    return StoredNetwork(node, tuple(class_names), state)
