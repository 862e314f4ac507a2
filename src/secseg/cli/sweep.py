"""The jobs of a sweep (-m): each has a folder that its settings name, so that a sweep that was broken off, or has got
another value, computes what is missing and nothing else. Works with every launcher: all that is known lies in folders.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from secseg.cli.messages import explain
from secseg.config import to_plain
from secseg.errors import UserError, listing
from secseg.files import locked, write_text

RESULTS, FAILURE, LOCK = "results.json", "failure.json", ".lock"
#: Settings that leave a run's results as they are.
CIRCUMSTANCES = ("run_dir", "resume", "ckpt_path", "name", "seeds", "logger", "callbacks")
#: Settings that are the same for all jobs of most sweeps, or say where things lie: not in a folder's name.
_UNNAMED = (*CIRCUMSTANCES, "experiment", "data", "data.root", "local", "debug")

# Lists in conf/experiment as what Hydra's sweeper reads: ${commas:${seeds}}
OmegaConf.register_new_resolver("commas", lambda values: ",".join(map(str, values)), replace=True)


def sweeping() -> bool:
    """Whether this process runs a job of a sweep."""
    return bool(HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN)


def fingerprint(config: Mapping[str, Any]) -> str:
    """Return eight hexadecimal digits that tell resolved settings from others that give other results."""
    told = {key: value for key, value in config.items() if key not in CIRCUMSTANCES}
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:8]


def run_job(cfg: DictConfig, run: Callable[[DictConfig], Path]) -> Path | None:
    """Run one job of a sweep in its own folder, unless it is finished there or in another study beside it.

    A job that was broken off goes on from its checkpoint. One that fails leaves ``failure.json`` and ends nothing else.

    Returns:
        The run folder; None where the job failed, or another process runs it.
    """
    folder = _place(cfg)
    if (folder / RESULTS).is_file():
        return folder
    try:
        with locked(folder, LOCK):
            try:
                _prepare(folder, cfg)
                run(cfg)
                (folder / FAILURE).unlink(missing_ok=True)
                return folder
            except Exception as error:
                _record(folder, error)
                return None
    except UserError as error:  # the lock's
        print(error, file=sys.stderr, flush=True)
        return None


def _place(cfg: DictConfig) -> Path:
    """Return the job's folder, ``<sweep>/<settings>-<fingerprint>``, or a link there to the same job of another sweep."""
    sweep = Path(HydraConfig.get().sweep.dir).absolute()
    suffix = f"-{fingerprint(to_plain(cfg))}"
    if there := sorted(path for path in sweep.glob(f"*{suffix}") if path.is_dir()):
        return there[0]
    folder = sweep / f"{_label(HydraConfig.get().overrides.task)}{suffix}"
    levels = Path(cfg.name).parts
    if sweep.parts[-len(levels) :] == levels:
        studies = sweep.parents[len(levels) - 1]
        found = (path for depth in ("*", "*/*") for path in studies.glob(f"{depth}/*{suffix}"))
        done = sorted(path for path in found if (path / RESULTS).is_file() and not path.is_symlink())
        if done:
            sweep.mkdir(parents=True, exist_ok=True)
            folder.unlink(missing_ok=True)  # a link to what has been removed
            folder.symlink_to(os.path.relpath(done[0], sweep), target_is_directory=True)
    return folder


def _label(overrides: list[str]) -> str:
    """Return the settings of a job as a part of a path: ``loss=seed,seed=1``."""
    words = [word.lstrip("+") for word in overrides if word.lstrip("+~").partition("=")[0] not in _UNNAMED]
    return re.sub(r"[^\w.=,+-]+", "_", ",".join(words))[:150] or "job"


def _prepare(folder: Path, cfg: DictConfig) -> None:
    """Have the job run in ``folder``: go on where there are checkpoints, else leave nothing of an earlier try."""
    cfg.run_dir = str(folder)
    cfg.resume = "auto" if any(folder.glob("checkpoints/*.ckpt")) else "never"
    if cfg.resume == "never":
        for path in folder.iterdir():
            if path.name != LOCK:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _record(folder: Path, error: Exception) -> None:
    reason = explain(error, "train", sys.argv[1:])
    trace = None if reason else "".join(traceback.format_exception(error))
    reason = reason or f"{type(error).__name__}: {error}"
    write_text(folder / FAILURE, json.dumps({"reason": reason, "traceback": trace}, indent=2) + "\n")
    print(trace or reason, file=sys.stderr, flush=True)


class Summary(Callback):
    """Says at a sweep's end what became of its folder's jobs; ends with exit code 1 where one of this sweep failed."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        self.started = time.time() - 1  # a file system's clock may be that of another machine

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        sweep = Path(config.hydra.sweep.dir)
        folders = sorted(path for path in sweep.iterdir() if re.search(r"-[0-9a-f]{8}$", path.name) and path.is_dir())
        done = [path for path in folders if (path / RESULTS).is_file()]
        failures = [path / FAILURE for path in folders if path not in done and (path / FAILURE).is_file()]
        print(f"{sweep}: {len(done)} of {len(folders)} runs are finished.", flush=True)
        mine = [path for path in failures if path.stat().st_mtime >= self.started]
        if mine:
            told = [f"{path.parent.name}: {json.loads(path.read_text())['reason']}" for path in mine]
            print(f"{len(mine)} failed; the same command tries them again:\n{listing(told)}", file=sys.stderr)
            raise SystemExit(1)
