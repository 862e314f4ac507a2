"""The run folder: a new run gets an empty one, and ``resume=auto`` finds the one to continue."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytorch_lightning.utilities.rank_zero import rank_zero_only

from secseg.utils.errors import UserError, listing
from secseg.utils.files import CONFIG, JOB, RESULTS
from secseg.utils.torch_file import find_damage

log = logging.getLogger(__name__)

# In the order in which a run resumes from them. The state at a crash may be damaged, so the last good one comes first.
RESUMABLE = ("last.ckpt", "exception.ckpt", "best.ckpt")


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run, and the checkpoint from which it resumes (None for a new run)."""

    path: Path
    resume_from: Path | None = None

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"


def open_run_folder(run_dir: str | Path, name: str, resume: Literal["never", "auto"] = "never") -> RunFolder:
    """Create ``run_dir`` for a new run, or find the run to continue.

    With ``resume="auto"``, the run in ``run_dir`` continues if it has checkpoints. Otherwise, if ``run_dir`` is in a
    folder called ``name`` (``runs/<name>/<time>``), the run in that folder with the newest checkpoint continues, except
    for jobs of sweeps; the empty folder that Hydra created is removed. If there is no such run, a new run starts, also
    in a ``run_dir`` whose run was interrupted before its first checkpoint.

    Raises:
        UserError: if ``run_dir`` is not empty and its run does not continue, or if every checkpoint of the run to
            continue is damaged.
    """
    run_dir = Path(run_dir).absolute()
    if run_dir.exists() and not run_dir.is_dir():
        raise UserError(f"The run folder {run_dir} is a file. Choose another run_dir.")
    if resume == "auto" and (found := _run_to_continue(run_dir, name)) is not None:
        checkpoint = _newest_whole_checkpoint(found)
        if found != run_dir and run_dir.is_dir() and not _contents(run_dir):
            shutil.rmtree(run_dir, ignore_errors=True)  # other processes of this run may do the same
        log.info("Continuing the run in %s from %s.", found, checkpoint.name)
        return RunFolder(found, checkpoint)
    # Other processes of a distributed run use the folder that the first one has created.
    started = resume == "auto" and (run_dir / CONFIG).is_file() and not (run_dir / RESULTS).is_file()
    if run_dir.is_dir() and first_process() and (contents := _contents(run_dir)) and not started:
        raise UserError(
            f"The run folder {run_dir} exists and is not empty:\n{listing(contents)}\n"
            "Choose another run_dir= or name=, or continue that run with resume=auto."
        )
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot create the run folder {run_dir}: {error.strerror}. Choose another run_dir.") from error
    if resume == "auto":
        log.info("resume=auto: no run called '%s' next to %s has a checkpoint. A new run starts.", name, run_dir)
    return RunFolder(run_dir)


def first_process() -> bool:
    """Return whether this is the first process of a distributed run, or the only process of a run."""
    return bool(getattr(rank_zero_only, "rank", 0) == 0)


def _contents(folder: Path) -> Sequence[str]:
    """Return the names in ``folder``, without hidden files (a lock, and Hydra's files) and logs."""
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith(".") and p.suffix != ".log")


def _checkpoints(run: Path) -> list[Path]:
    return [path for file in RESUMABLE if (path := run / "checkpoints" / file).is_file()]


def _run_to_continue(run_dir: Path, name: str) -> Path | None:
    if _checkpoints(run_dir):
        return run_dir
    levels = Path(name).parts
    if not levels or run_dir.parent.parts[-len(levels) :] != levels or not run_dir.parent.is_dir():
        return None
    others = (run for run in run_dir.parent.iterdir() if run != run_dir and not JOB.search(run.name))
    runs = [run for run in others if _checkpoints(run)]
    return max(runs, key=lambda run: (_checkpoints(run)[0].stat().st_mtime, run.name), default=None)


def _newest_whole_checkpoint(run: Path) -> Path:
    damaged: list[str] = []
    for path in _checkpoints(run):
        if (problem := find_damage(path)) is None:
            if damaged:
                log.warning("These checkpoints are damaged:\n%s\nUsing %s instead.", listing(damaged), path.name)
            return path
        damaged.append(f"{path} ({problem})")
    raise UserError(
        f"Every checkpoint of the run to continue is damaged:\n{listing(damaged)}\n"
        f"Remove {run}, so that resume=auto continues the run before it, or start a new run with resume=never."
    )
