"""Weights with Caffe's layer names as those of DeepLab-LargeFOV on VGG-16, with a report of every tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from secseg.models.files.caffemodel import read_caffemodel
from secseg.models.weights import check_state_dict, read_weights
from secseg.utils.console import table
from secseg.utils.errors import UserError

SUFFIX = ".caffemodel"
# Our name of the last layer. In Caffe, its name is fc8 followed by the name of the data set.
_CLASSIFIER, _FC8 = "classifier", "fc8"


class Assignment(NamedTuple):
    """What was done with one tensor. ``theirs`` or ``ours`` is None if the file or the network does not have it."""

    theirs: str | None
    ours: str | None
    shape: tuple[int, ...]
    action: Literal["copied", "initialised", "ignored"]


class Imported(NamedTuple):
    """Tensors with our names, and the report of all tensors of the file and the network."""

    state: dict[str, Tensor]
    report: list[Assignment]

    def table(self) -> str:
        """Return the report as a table."""
        rows = [("file", "network", "shape", "")]
        for row in self.report:
            rows.append((row.theirs or "-", row.ours or "-", " x ".join(map(str, row.shape)), row.action))
        return table(rows, left=4)


def read_caffe(path: str | Path) -> dict[str, Tensor]:
    """Read weights with Caffe's layer names: ``conv1_1.weight``, ``conv1_1.bias``, ...

    The file is a ``.caffemodel``, or a state dict (see ``read_weights``) with these names after any prefix
    (``features.conv1_1.weight``, ``module.fc8-SEC.bias``).

    Raises:
        UserError: if the file is missing, damaged or something else, or has two tensors of the same name.
    """
    path = Path(path).expanduser()
    if path.suffix == SUFFIX:
        return {
            f"{layer}.{('weight', 'bias')[number] if number < 2 else f'blob{number}'}": torch.from_numpy(blob)
            for layer, blobs in read_caffemodel(path).items()
            for number, blob in enumerate(blobs)
        }
    named: dict[str, Tensor] = {}
    for name, tensor in read_weights(path).items():
        short = ".".join(name.split(".")[-2:])
        if short in named:
            raise UserError(f"{path} has two tensors that end in {short}. Give the weights of a single network.")
        named[short] = tensor
    return named


def import_caffe(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], what: str) -> Imported:
    """Match weights with Caffe's layer names to the tensors of the network, strictly.

    The classifier is the layer whose name starts with ``fc8`` (``fc8-SEC``, ``fc8_voc12``, ...). If there is none, or
    one for another number of classes, the network keeps its own. Every other tensor of the network must be in the file,
    finite and of the right shape. Tensors that the network does not have are ignored, as the report states.

    Args:
        given: the result of ``read_caffe``; biases are (n,) or (1, 1, 1, n).
        wanted: the tensors of a network, or of a part of it. Their names end in the layer's name and ``.weight`` or
            ``.bias``.
        what: the file, for messages.

    Returns:
        Copies as float32 with our names (without the classifier if the network keeps its own), and the report.

    Raises:
        UserError: for tensors that are missing, of another shape or not finite, or for several layers fc8.
    """
    fc8 = _classifier_name(list(given), what)
    sources = {ours: _caffe_name(ours, fc8) for ours in wanted}
    fitted = {
        theirs: given[theirs].flatten() if _is_flat(given[theirs], wanted[ours]) else given[theirs]
        for ours, theirs in sources.items()
        if theirs in given
    }
    initialised = [ours for ours, theirs in sources.items() if theirs.startswith(_FC8)]
    if all(sources[ours] in fitted and fitted[sources[ours]].shape == wanted[ours].shape for ours in initialised):
        initialised = []
    copied = {ours: theirs for ours, theirs in sources.items() if ours not in initialised}
    taken = set(copied.values())
    check_state_dict(
        {theirs: tensor for theirs, tensor in fitted.items() if theirs in taken},
        {theirs: wanted[ours] for ours, theirs in copied.items()},
        f"file {what} for VGG-16 LargeFOV in Caffe's layers",
    )
    state = {ours: fitted[theirs].to(torch.float32, copy=True) for ours, theirs in copied.items()}
    broken = [copied[ours] for ours, tensor in state.items() if not tensor.isfinite().all()]
    if broken:
        raise UserError(f"{what} is damaged: these tensors have values that are not finite: {', '.join(broken)}.")
    return Imported(
        state,
        [
            *(Assignment(theirs, ours, tuple(wanted[ours].shape), "copied") for ours, theirs in copied.items()),
            *(Assignment(None, ours, tuple(wanted[ours].shape), "initialised") for ours in initialised),
            *(Assignment(name, None, tuple(given[name].shape), "ignored") for name in given if name not in taken),
        ],
    )


def _classifier_name(names: Sequence[str], what: str) -> str:
    layers = sorted({name.rpartition(".")[0] for name in names if name.startswith(_FC8)})
    if len(layers) > 1:
        raise UserError(f"{what} has several last layers: {', '.join(layers)}. Give a file with a single one.")
    return layers[0] if layers else _FC8


def _caffe_name(ours: str, fc8: str) -> str:
    layer, part = ours.split(".")[-2:]
    return f"{fc8 if layer == _CLASSIFIER else layer}.{part}"


def _is_flat(given: Tensor, wanted: Tensor) -> bool:
    """Return whether ``given`` is a bias in Caffe's layout of 2014: (1, 1, 1, n) for (n,)."""
    return wanted.ndim == 1 and tuple(given.shape) == (1, 1, 1, *wanted.shape)
