"""Weights from files and downloads, compared with the network tensor by tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from secseg.utils.errors import UserError, listing
from secseg.utils.files import sha256
from secseg.utils.text import count
from secseg.utils.torch_file import load_saved


def check_state_dict(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], what: str) -> None:
    """Raise a UserError that lists the tensors that are missing, unknown, or of another shape than ``wanted``."""
    problems = [f"missing: {name} {tuple(wanted[name].shape)}" for name in wanted if name not in given]
    problems += [f"unknown: {name} {tuple(given[name].shape)}" for name in given if name not in wanted]
    problems += [
        f"other shape: {name} is {tuple(given[name].shape)}, the network needs {tuple(wanted[name].shape)}"
        for name in wanted
        if name in given and given[name].shape != wanted[name].shape
    ]
    if problems:
        raise UserError(
            f"The weights of the {what} do not fit this network ({count(len(problems), 'tensor')}):\n"
            f"{listing(problems)}\nChoose the backbone, head and classes that these weights were trained with, or "
            "other weights."
        )


def is_state_dict(content: Any) -> bool:
    """Return whether the content of a file is a mapping of names to dense tensors (not sparse, quantized or meta)."""
    return isinstance(content, Mapping) and all(
        isinstance(name, str)
        and isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type != "meta"
        and not value.is_quantized
        for name, value in content.items()
    )


def read_weights(path: str | Path, digest: str | None = None) -> dict[str, Tensor]:
    """Read a state dict (``.safetensors``, or a file of ``torch.save``), without running code from it.

    It may also be the value of ``state_dict`` or ``model`` in the dict of a file, as many authors publish it.

    Raises:
        UserError: if the file is missing, damaged, not a state dict, or its SHA-256 is not ``digest``.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"There is no weights file {path}. Check backbone.trunk.weights.")
    if digest is not None and sha256(path) != digest:
        raise UserError(f"The weights file {path} is not the expected one: its SHA-256 differs. Install it again.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state: Any = load_saved(path)
    except Exception as error:  # for damaged bytes, torch and safetensors raise errors of many types
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"The weights file {path} cannot be read: {reason}. It is damaged, or contains more than weights."
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(state, Mapping) and not is_state_dict(state) and is_state_dict(state.get(key)):
            state = state[key]
    if not is_state_dict(state):
        raise UserError(f"{path} is not a state dict (name to tensor). Give the file of the weights alone.")
    return dict(state)


def download(fetch: Callable[[], Any], what: str, address: str) -> Any:
    """Return the result of ``fetch()``, the download function of a library.

    If that fails, a UserError says what to download manually, and where to name the file.
    """
    try:
        return fetch()
    except Exception as error:  # URLError, HTTPError, hub errors, a wrong hash: each library has its own
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"The weights of {what} could not be downloaded: {reason}.\nDownload {address} on a machine with internet "
            "access, and give backbone.trunk.weights=<path>. Or use backbone=efficientnet_lite0, which needs no "
            "download."
        ) from error
