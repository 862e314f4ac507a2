"""The jobs of a sweep (-m). The folder of a job is named after its settings, so that a sweep that was interrupted, or
that has a further value, runs only the missing jobs. It works with every launcher, since its state is in the folders.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict

from secseg.cli.cluster import no_accounting
from secseg.cli.messages import explain
from secseg.cli.study import job_report, trial_lines
from secseg.runs.run_reader import read_warnings
from secseg.runs.run_warnings import grouped_warnings
from secseg.utils.config import result_settings
from secseg.utils.errors import Pruned, UserError, listing
from secseg.utils.files import FAILURE, JOB, PRUNED, RESULTS, locked, write_text
from secseg.utils.text import part_of

LOCK = ".lock"
MOST_TAG = 64  # characters of a W&B tag

# Lists in conf/experiment as what Hydra's sweeper reads: ${commas:${random_seeds}}
OmegaConf.register_new_resolver("commas", lambda values: ",".join(map(str, values)), replace=True)


def fingerprint(config: Mapping[str, Any]) -> str:
    """Return eight hexadecimal digits of a hash over the settings that determine a run's results."""
    text = json.dumps(result_settings(config), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def run_job(config: dict[str, Any], run: Callable[..., Path]) -> Path | None:
    """Run one job of a sweep in its own folder, unless it is finished there or in another study next to this one.

    A job that was interrupted resumes from its checkpoint. A job that fails leaves ``failure.json``; the other jobs
    continue. A job of a search that is pruned leaves ``pruned.json``, and counts as finished while the search prunes.

    Args:
        config: of the job.
        run: takes the config, and in a search what the job reports its scores to (see ``study.job_report``).

    Returns:
        The run folder; None if the job failed, or if another process runs it.
    """
    swept = _swept(HydraConfig.get())
    folder = _place(config, swept)
    sweeper = HydraConfig.get().sweeper
    ends = (RESULTS, PRUNED) if "pruner" in sweeper and sweeper.pruner else (RESULTS,)
    if _ended(folder, ends):
        return folder
    try:
        with locked(folder, LOCK):
            return folder if _ended(folder, ends) or _run_in(folder, config, run, swept) else None
    except UserError as error:  # from the lock
        print(error, file=sys.stderr, flush=True)
        return None


def _ended(folder: Path, ends: Sequence[str]) -> bool:
    return any((folder / name).is_file() for name in ends)


def _swept(hydra: Any) -> list[str]:
    """Return the settings of a job that vary within its sweep: ``loss=seed``, ``seed=1``."""
    fixed = hydra.job.config.override_dirname.exclude_keys  # see Summary
    words = {
        word.lstrip("+~").partition("=")[0]: word for word in hydra.overrides.task
    }  # the last word of a key counts
    return [word.lstrip("+") for key, word in words.items() if key not in fixed]


def _place(config: Mapping[str, Any], swept: Sequence[str]) -> Path:
    """Return ``<sweep>/<settings>-<fingerprint>``; a link if another sweep has finished this job."""
    sweep = Path(HydraConfig.get().sweep.dir).absolute()
    suffix = f"-{fingerprint(config)}"
    if there := sorted(path for path in sweep.glob(f"*{suffix}") if path.is_dir()):
        return there[0]
    folder = sweep / f"{_label(swept)}{suffix}"
    folder.unlink(missing_ok=True)  # a link whose target was removed
    levels = Path(config["name"]).parts
    if sweep.parts[-len(levels) :] == levels:
        studies = sweep.parents[len(levels) - 1]
        found = (path for depth in ("*", "*/*") for path in studies.glob(f"{depth}/*{suffix}"))
        done = sorted(path for path in found if (path / RESULTS).is_file() and not path.is_symlink())
        if done:
            with suppress(OSError):  # another process was faster, or links are not allowed: the job runs again
                folder.symlink_to(os.path.relpath(done[0], sweep), target_is_directory=True)
    return folder


def _label(swept: Sequence[str]) -> str:
    """Return settings as part of a path: ``loss=seed,seed=1``."""
    return re.sub(r"[^\w.=,+-]+", "_", ",".join(swept))[:150] or "job"


def _run_in(folder: Path, config: dict[str, Any], run: Callable[..., Path], swept: Sequence[str]) -> bool:
    """Run a job in ``folder``: from its checkpoint, or from the start without the files of an earlier try."""
    resumes = any(folder.glob("checkpoints/*.ckpt"))
    for path in folder.iterdir():
        if path.name in (FAILURE, PRUNED) or not (resumes or path.name == LOCK):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    config["run_dir"], config["resume"] = str(folder), "auto" if resumes else "never"
    if wandb := config["logger"].get("wandb"):
        wandb["group"] = wandb["group"] or config["name"]
        wandb["name"] = wandb["name"] or _label(swept)
        wandb["tags"] = [*wandb["tags"], *(word[:MOST_TAG] for word in swept)]
    try:
        report = job_report(HydraConfig.get().sweeper, folder.parent)
        run(config) if report is None else run(config, report)
        return True
    except Pruned as end:
        write_text(folder / PRUNED, json.dumps({"reason": str(end)}) + "\n")
        print(f"{folder.name}: {end}", flush=True)
        return True
    except Exception as error:
        reason = explain(error, "train", [])
        trace = None if reason else "".join(traceback.format_exception(error))
        first = _first(error)
        failure = {"reason": reason or f"{type(first).__name__}: {first}", "traceback": trace}
        write_text(folder / FAILURE, json.dumps(failure, indent=2) + "\n")
        print(trace or reason, file=sys.stderr, flush=True)
        return False


def _first(error: BaseException) -> BaseException:
    """Return the first error of a chain: Lightning's teardown raises others while it handles that one."""
    while error.__context__ is not None and not error.__suppress_context__:
        error = error.__context__
    return error


class Summary(Callback):
    """Refuses settings that a sweep cannot have, passes the varying settings on to the jobs, and prints at the end how
    many jobs are finished, with exit code 1 if one of them failed.
    """

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        params = config.hydra.sweeper.params or {}
        words = [f"{key}={params[key]}" for key in params] + list(config.hydra.overrides.task)
        settings = OverridesParser.create().parse_overrides(words)
        if refused := [str(each.input_line) for each in settings if each.key_or_group in ("run_dir", "ckpt_path")]:
            error = UserError(
                f"A sweep (-m) gives each job its own folder, and resumes a job from the checkpoint in it: leave out "
                f"{' and '.join(refused)}. The folder of the sweep is hydra.sweep.dir=<folder>."
            )
            raise SystemExit(1) from error  # Hydra only warns of other exceptions
        swept = {each.key_or_group for each in settings if each.is_sweep_override()}
        fixed = sorted({repr(each.key_or_group) for each in settings} - {repr(key) for key in swept})
        # Each job is composed from these and from its own settings, in whichever process it runs.
        words = [*config.hydra.overrides.hydra, f"hydra.job.config.override_dirname.exclude_keys=[{','.join(fixed)}]"]
        with open_dict(config):
            config.hydra.overrides.hydra = words
        if str(config.hydra.launcher._target_).endswith(".SlurmLauncher") and (warning := no_accounting()):
            print(warning, file=sys.stderr, flush=True)
        self.earlier = self._failures(config)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        sweep = Path(config.hydra.sweep.dir)
        folders = [path for path in sweep.iterdir() if JOB.search(path.name) and path.is_dir()]
        done = [path for path in folders if (path / RESULTS).is_file()]
        pruned = sum((path / PRUNED).is_file() for path in folders)
        note = f" {pruned} pruned." if pruned else ""
        print(f"{sweep}: {part_of(len(done), len(folders), 'run', 'is', 'are')} finished.{note}", flush=True)
        if "n_trials" in config.hydra.sweeper:
            print(*trial_lines(sweep, config.hydra.sweeper.metric), sep="\n", flush=True)
        for line in grouped_warnings({path.name: read_warnings(path / RESULTS) for path in sorted(done)}):
            print(line, flush=True)
        if failed := sorted(self._failures(config) - self.earlier):
            reasons = [f"{path.parent.name}: {json.loads(path.read_text('utf-8'))['reason']}" for path, _ in failed]
            print(
                f"{len(failed)} failed. The same command runs {'it' if len(failed) == 1 else 'them'} "
                f"again:\n{listing(reasons)}",
                file=sys.stderr,
            )
            raise SystemExit(1)
        print(f"run: {sweep.absolute()}", flush=True)

    @staticmethod
    def _failures(config: DictConfig) -> set[tuple[Path, int]]:
        return {(path, path.stat().st_mtime_ns) for path in Path(config.hydra.sweep.dir).glob(f"*/{FAILURE}")}
