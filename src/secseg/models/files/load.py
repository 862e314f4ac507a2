"""Load a network from a run folder, a checkpoint or an exported model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from secseg.crf import AUTO
from secseg.models import Head, SegmentationNet, TrunkNet, build_network
from secseg.models.files.caffe import SUFFIX
from secseg.models.files.model_file import NAME, StoredNetwork, describe, is_safetensors, read_model
from secseg.models.trunk import Trunk
from secseg.models.weights import check_state_dict, is_state_dict
from secseg.utils.config import find, flatten
from secseg.utils.errors import UserError
from secseg.utils.files import RESULTS, neighbours, read_hashed
from secseg.utils.program import command
from secseg.utils.quoting import override
from secseg.utils.torch_file import read_saved

_PREFIX = "network."

Network = TypeVar("Network", bound=TrunkNet)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a training checkpoint of secseg.

    Raises:
        UserError: if the file is missing, damaged or something else. The message says what it is.
    """
    if path.suffix == SUFFIX and path.is_file():
        turn = command("export", override("caffe", path))
        raise UserError(f"{path} is a Caffe model. Turn it into a network with: {turn}")
    if path.is_file() and is_safetensors(path):
        raise UserError(f"{path} is a safetensors file. Training cannot continue from it: give a checkpoint of a run.")
    checkpoint: Any = read_saved(path)
    if not isinstance(checkpoint, dict) or not {"state_dict", "secseg"} <= checkpoint.keys():
        raise UserError(
            f"{path} is not a training checkpoint of secseg{_kind(checkpoint)}. Give one from a run's checkpoints "
            "folder."
        )
    record = checkpoint["secseg"]
    if not (
        is_state_dict(checkpoint["state_dict"]) and isinstance(record, dict) and isinstance(record.get("config"), dict)
    ):
        raise UserError(f"The checkpoint {path} is damaged: its weights or its config are invalid. Use another one.")
    return checkpoint


def _kind(content: Any) -> str:
    """Return a phrase that says what else a file of ``torch.save`` is, as far as that is known."""
    if isinstance(content, dict) and "state_dict" in content:
        return " but that of another program"
    if content and is_state_dict(content):
        return " but a state dict: weights without a description of their network"
    return f" (it contains a {type(content).__name__})"


def find_network(path: str | Path) -> Path:
    """Return the file with the network of ``path``.

    That is the last checkpoint of a run folder, the model of an exported folder, or the file itself.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise UserError(f"There is no run folder, checkpoint or exported network at {path}.{neighbours(path)}")
    if not path.is_dir():
        return path
    files = [file for file in (path / "checkpoints" / "last.ckpt", path / NAME) if file.is_file()]
    if not files:
        raise UserError(
            f"{path} contains no checkpoints/last.ckpt and no {NAME}. Give the folder of a training run, or one that "
            "the command export wrote."
        )
    return files[0]


class OpenedNetwork(NamedTuple):
    """A trained network, and what a command records of it.

    Attributes:
        file, sha256: the file, and the SHA-256 of the content that was read.
        warnings: a line if the training of the run folder has not finished.
    """

    network: SegmentationNet
    file: Path
    sha256: str
    warnings: list[str]


def load_network(path: str | Path) -> SegmentationNet:
    """Return a trained network, in evaluation mode, with its ``class_names``, ``input_size`` and normalisation.

    The network maps images (B, 3, S, S), RGB, 0..255, to scores (B, C, h, w). No code from the file is run.

    Args, Raises: as ``open_network``.
    """
    return open_network(path).network


def open_network(path: str | Path) -> OpenedNetwork:
    """Load a trained network as ``load_network``, with its file and fingerprint.

    Args:
        path: a run folder (its last checkpoint is loaded), a checkpoint, or an exported folder or its
            ``model.safetensors``.

    Raises:
        UserError: if the file is missing, damaged or something else, was replaced while it was read, or its weights do
            not fit its network.
    """
    file, warnings = find_network(path), []
    if file.is_file() and is_safetensors(file):
        (stored, digest), what = read_hashed(file, lambda file: read_model(file, SegmentationNet.kind)), "model"
    else:
        (checkpoint, digest), what = read_hashed(file, read_checkpoint), "checkpoint"
        stored, warnings = stored_in_checkpoint(checkpoint, file), unfinished(checkpoint, Path(path).expanduser())
    network = build_stored(stored, f"{what} {file}", Head, build_network)
    network.test_crf = {key: stored.node[key] for key in AUTO if key in stored.node}
    return OpenedNetwork(network, file, digest, warnings)


def unfinished(checkpoint: Mapping[str, Any], path: Path) -> list[str]:
    """Return a warning if ``path`` is the folder of a run that has not finished, with its last checkpoint."""
    step, steps = checkpoint.get("global_step"), flatten(checkpoint["secseg"]["config"]).get("trainer.max_steps")
    if not path.is_dir() or (path / RESULTS).is_file() or type(step) is not int or type(steps) is not int:
        return []
    text = (
        f"The training in {path} has not finished: its network is of step {step} of {steps}. resume=auto continues it."
    )
    return [text] if step < steps else []


def stored_in_checkpoint(checkpoint: dict[str, Any], path: Path) -> StoredNetwork:
    """Return the parts of the network of a training checkpoint."""
    state = {
        name.removeprefix(_PREFIX): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith(_PREFIX)
    }
    record = checkpoint["secseg"]
    stored = describe(record["config"].get("backbone"), record.get("class_names"), state, path)
    settings = flatten(record["config"])
    crf = {key: value for key in AUTO if (value := settings.get(f"crf.test.{key}")) not in (None, "auto")}
    return stored._replace(node={**stored.node, **crf})


def build_stored(stored: StoredNetwork, what: str, head: type, make: Callable[..., Network]) -> Network:
    """Build a network from its parts, in evaluation mode.

    The weights are first compared with a network on the meta device, which takes no memory.

    Args:
        what: the file, for messages.
        head: the class that the head of the network is derived from.
        make: ``build_network``, or a function with the same first three parameters.

    Raises:
        UserError: if trunk or head are neither from ``secseg`` nor from a plugin of this run, refuse their options, or
            do not fit the weights.
    """
    for part, kind in (("trunk", Trunk), ("head", head)):
        target = str(stored.node[part].get("_target_", ""))
        try:
            find(target, kind, ("secseg",))
        except UserError as error:
            raise UserError(f"The {part} of the {what} cannot be built: {error}") from error
    try:
        with torch.device("meta"):
            wanted = make(stored.node, stored.class_names, weights=False).state_dict()
    except UserError:
        raise
    except Exception as error:  # options of any type, sizes that no tensor can have
        raise UserError(f"The {what} describes a network that cannot be built: {error!r}") from error
    check_state_dict(stored.state, wanted, what)
    other = [name for name, tensor in wanted.items() if stored.state[name].dtype != tensor.dtype]
    if other:
        raise UserError(f"The weights of the {what} have another type than the network's: {', '.join(other[:5])}.")
    network = make(stored.node, stored.class_names, weights=False)
    network.load_state_dict(stored.state)
    if stored.normalization is not None:
        network.trunk.normalization = stored.normalization
    return network.eval()
