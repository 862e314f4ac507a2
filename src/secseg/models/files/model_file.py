"""The file of an exported network: safetensors, whose metadata describe the network that the weights belong to."""

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
from secseg.models import Normalization, SegmentationNet, TrunkNet
from secseg.utils.checksums import verify, with_checksum
from secseg.utils.errors import UserError
from secseg.utils.files import atomic_write

NAME = "model.safetensors"
FORMAT, VERSION = "secseg.network", 1
_BACKBONE = ("name", "input_size", "freeze", "trunk", "head")


class StoredNetwork(NamedTuple):
    """A network in parts, as a file holds it.

    Attributes:
        backbone: a ``conf/backbone`` node.
        class_names: background first.
        state: its tensors.
        normalization: what its weights want to see; None where the trunk's options say so.
    """

    backbone: Mapping[str, Any]
    class_names: tuple[str, ...]
    state: dict[str, Tensor]
    normalization: Normalization | None = None


def write_model(path: str | Path, network: SegmentationNet, backbone: Mapping[str, Any]) -> None:
    """Write the weights of ``network`` and what is needed to build it again, whole or not at all.

    Args:
        path: the file.
        network: its weights, class names and normalisation are kept.
        backbone: its ``conf/backbone`` node; where the trunk's first weights came from is left out.

    Raises:
        UserError: where it cannot be written.
    """
    node = without_first_weights({key: backbone[key] for key in _BACKBONE})
    write_network(path, network, FORMAT, {"version": VERSION, "backbone": node})


def write_network(path: str | Path, network: TrunkNet, kind: str, description: Mapping[str, Any]) -> None:
    """Write the weights of ``network`` as safetensors. ``description`` with its class names and normalisation is JSON
    under the key ``kind`` of the metadata."""
    header = {
        **description,
        "class_names": network.class_names,
        "normalization": asdict(network.trunk.normalization),
        "written_with": secseg.__version__,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with atomic_write(path) as temporary:
        temporary.write_bytes(with_checksum(save(tensors, {kind: json.dumps(header, sort_keys=True)})))


def without_first_weights(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return a network's node without where its trunk's first weights came from."""
    trunk = {key: None if key == "weights" else value for key, value in node["trunk"].items()}
    return {**node, "trunk": trunk}


def is_safetensors(path: Path) -> bool:
    """Tell a safetensors file by its start: the length of a header in JSON, then the header."""
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def read_model(path: Path) -> StoredNetwork:
    """Read a file of ``write_model``, without running code from it.

    Raises:
        UserError: where it is damaged, holds something else, or was written by a newer version.
    """
    try:
        verify(path)
        with safe_open(path, "pt") as file:
            stored = _described(file.metadata() or {}, path)
            return stored._replace(state={name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"The model {path} cannot be read: {error}. It is damaged; fetch or export it again."
        ) from error


def _described(metadata: Mapping[str, str], path: Path) -> StoredNetwork:
    if "secseg.cues" in metadata:
        raise UserError(f"{path} holds localization cues, not a network. Name it with data.cues=<path>.")
    if FORMAT not in metadata:
        raise UserError(
            f"{path} holds tensors that do not say which network they belong to. Give a {NAME} of src/export.py."
        )
    try:
        header = json.loads(metadata[FORMAT])
        version = header["version"]
        if version != VERSION:
            raise UserError(
                f"{path} has format {version}; this version of secseg reads {VERSION}. Install a newer one."
            )
        normalization = read_normalization(header["normalization"])
        return describe(header["backbone"], header["class_names"], {}, path)._replace(normalization=normalization)
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"The description of the network in {path} is damaged: {error!r}. Export it again.") from error


def read_normalization(given: Mapping[str, Any]) -> Normalization:
    """Return the normalisation that ``asdict`` made a dict.

    Raises:
        ValueError, KeyError, TypeError: where it is none.
    """
    normalization = Normalization(tuple(given["mean"]), tuple(given["std"]), given["order"])
    numbers = [*normalization.mean, *normalization.std]
    if len(normalization.mean) != 3 or len(normalization.std) != 3 or normalization.order not in ("rgb", "bgr"):
        raise ValueError("normalization is not that of three channels")
    if not all(math.isfinite(number) for number in numbers) or 0 in normalization.std:
        raise ValueError("normalization is not finite")
    return normalization


def describe(backbone: Any, class_names: Any, state: dict[str, Tensor], path: Path) -> StoredNetwork:
    """Check what a file says about its network, as far as it can be told without building it.

    Raises:
        UserError: where something is missing or of another type.
    """
    whole = isinstance(backbone, Mapping) and all(key in backbone for key in _BACKBONE)
    whole = whole and isinstance(backbone["trunk"], Mapping) and isinstance(backbone["head"], Mapping)
    whole = whole and type(backbone["input_size"]) is int and backbone["input_size"] > 0
    named = isinstance(class_names, list | tuple) and all(isinstance(name, str) for name in class_names)
    if not (whole and named):
        raise UserError(f"The description of the network in {path} is damaged or incomplete. Export it again.")
    return StoredNetwork(backbone, tuple(class_names), state)
