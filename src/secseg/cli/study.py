"""The study of a search: a journal file of Optuna in the folder of the sweep, which all its jobs share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secseg.utils.config import build, using_plugins
from secseg.utils.console import table

if TYPE_CHECKING:
    import optuna

STUDY = "study.journal"
SCORES = {"without_crf": "val/miou", "with_crf": "val/miou_crf"}
NO_PRUNER = {"_target_": "optuna.pruners.NopPruner"}


def open_study(folder: Path) -> optuna.Study:
    """Return the study in the folder of a sweep; a new one if there is none."""
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = str(folder / STUDY)  # a journal, since file systems of clusters often cannot lock SQLite's files
    storage = optuna.storages.JournalStorage(JournalFileBackend(path, JournalFileOpenLock(path)))
    return optuna.create_study(study_name="search", storage=storage, direction="maximize", load_if_exists=True)


def ended_trials(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Return the trials that finished or were pruned."""
    from optuna.trial import TrialState

    return study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))


def value_text(value: Any) -> str:
    """Return a value as on the command line. Six digits keep the names of folders short."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def job_report(sweeper: Mapping[str, Any], folder: Path) -> Callable[[int, float], bool] | None:
    """Return what a job calls after each validation with the step and ``val/miou``: it stores the score in the study,
    and returns whether the trial is pruned. None for a job that has no trial.

    Args:
        sweeper: the node ``hydra.sweeper``.
        folder: of the sweep.
    """
    if sweeper.get("trial") is None:
        return None
    import optuna

    study = open_study(folder)
    with using_plugins(["optuna"]):
        pruner = build(sweeper["pruner"] or NO_PRUNER, optuna.pruners.BasePruner, "hydra.sweeper.pruner")  # type: ignore[type-abstract]
    study.pruner = pruner
    # A trial is run by another process than the one that asked for it, which Optuna supports by its id only.
    trial = optuna.Trial(study, study.get_trials()[sweeper["trial"]]._trial_id)

    def report(step: int, score: float) -> bool:
        if step not in study.get_trials()[trial.number].intermediate_values:  # a resumed job validates again
            trial.report(score, step)
        return bool(trial.should_prune())

    return report


def trial_lines(folder: Path, metric: str) -> list[str]:
    """Return a table of the trials in the folder of a sweep, without those that failed, and a line with the best."""
    trials = ended_trials(open_study(folder))
    keys = list(dict.fromkeys(key for trial in trials for key in trial.params))
    rows = [["trial", *keys, SCORES[metric], ""]]
    for trial in trials:
        step = max(trial.intermediate_values, default=None)
        pruned = trial.state.name == "PRUNED"
        score = f"{trial.value:.4f}" if not pruned else "" if step is None else f"{trial.intermediate_values[step]:.4f}"
        note = "" if not pruned else "pruned" if step is None else f"pruned after step {step}"
        rows.append([str(trial.number), *(value_text(trial.params[key]) for key in keys), score, note])
    lines = table(rows).splitlines()
    if done := [trial for trial in trials if trial.value is not None and trial.state.name == "COMPLETE"]:
        best = max(done, key=lambda trial: trial.value or 0.0)
        words = " ".join(f"{key}={value_text(value)}" for key, value in best.params.items())
        lines.append(f"Best: trial {best.number}, {SCORES[metric]}={best.value:.4f}, {words}")
    return lines
