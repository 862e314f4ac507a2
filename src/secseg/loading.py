"""From a run folder or checkpoint back to its network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from secseg.errors import UserError
from secseg.networks import SegmentationNet, build_network
from secseg.networks.weights import check_state_dict
from secseg.runtime import CheckpointFiles

_PREFIX = "network."


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a training checkpoint of ours.

    Raises:
        UserError: where there is none, it is damaged, or it is another program's.
    """
    checkpoint = CheckpointFiles().load_checkpoint(path)
    if "state_dict" not in checkpoint or "secseg" not in checkpoint:
        raise UserError(f"{path} is not a training checkpoint of secseg. Give one from a run's checkpoints folder.")
    return checkpoint


def network_file(path: str | Path) -> Path:
    """Return the file that ``load_network`` reads for a path: of a run folder, its last checkpoint.

    Raises:
        UserError: where a folder holds none.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        return path
    file = path / "checkpoints" / "last.ckpt"
    if not file.is_file():
        raise UserError(f"{path} holds no checkpoints/last.ckpt. Give the folder of a run that was trained.")
    return file


def load_network(path: str | Path) -> SegmentationNet:
    """Return the network of a run, in evaluation mode, with its ``class_names``, its ``input_size`` and its own input
    normalisation.

    It takes images (B, 3, S, S), RGB, 0..255, and gives scores (B, C, h, w).

    Args:
        path: a run folder (its last checkpoint is taken) or a checkpoint.

    Raises:
        UserError: where there is none, it is damaged, or its weights do not fit the network that it describes.
    """
    file = network_file(path)
    checkpoint = read_checkpoint(file)
    record = checkpoint["secseg"]
    network = build_network(record["config"]["backbone"], tuple(record["class_names"]), weights=False)
    state = {
        name.removeprefix(_PREFIX): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith(_PREFIX)
    }
    check_state_dict(state, network.state_dict(), f"checkpoint {file}")
    network.load_state_dict(state)
    network.input_size = record["config"]["backbone"]["input_size"]
    return network.eval()
