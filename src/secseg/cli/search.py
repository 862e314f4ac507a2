"""Hyper-parameter search: Optuna chooses the settings of the jobs of a sweep (``hydra/sweeper=optuna``).

The same command continues a search. A trial whose job was interrupted or failed is asked for again, with the same
settings, so that the job resumes in its folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secseg.cli.search_space import space_of
from secseg.cli.study import SCORES, ended_trials, open_study, value_text
from secseg.utils.checks import check_choice, check_whole, refuse
from secseg.utils.config import build, differences, result_settings, using_plugins
from secseg.utils.errors import UserError, listing, require_package
from secseg.utils.files import RESULTS, locked, read_json

if TYPE_CHECKING:
    import optuna
    from hydra.core.override_parser.types import Override

LOCK = ".search"
REPORTED = "reported"  # user attribute of a trial: scores that its job reported in an earlier trial, by step


class Search:
    """The trials of one command.

    Args:
        folder: of the sweep.
        overrides: settings of the command line: fixed ones, and ranges.
        settings: keys of ``conf/hydra/sweeper/optuna.yaml``.
        config: the config without the settings that vary.

    Raises:
        UserError: if Optuna is missing, or if a setting of the search is not valid.
    """

    def __init__(
        self, folder: Path, overrides: Sequence[Override], settings: Mapping[str, Any], config: Mapping[str, Any]
    ) -> None:
        require_package("hydra/sweeper=optuna", "optuna", "'secseg[optuna]'")
        counts = (check_whole(f"hydra.sweeper.{key}", settings[key], 1) for key in ("n_trials", "n_jobs"))
        refuse([*chain(*counts), *check_choice("hydra.sweeper.metric", settings["metric"], SCORES)])
        self.folder, self.settings, self.space = folder, settings, space_of(overrides)
        self.fixed = [str(each.input_line) for each in overrides if not each.is_sweep_override()]
        space = {key: str(distribution) for key, distribution in self.space.items()}
        self.identity = {"metric": settings["metric"], "ranges": space, **result_settings(config)}
        self.launched = 0
        self._round: list[tuple[optuna.Trial, tuple[str, ...]]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Hold the lock of the search, and take up the trials that an earlier command did not finish."""
        with locked(self.folder, LOCK), using_plugins(["optuna"]):
            self.study = open_study(self.folder)
            self.asked = len(ended_trials(self.study))
            if self.asked and (changes := differences(self.study.user_attrs["identity"], self.identity)):
                lines = listing([f"{key}: {change}" for key, change in changes.items()])
                raise UserError(
                    f"{self.folder} has a search with other settings:\n{lines}\n"
                    "Give its settings, or start another search in another folder: hydra.sweep.dir=<folder>."
                )
            self.study.set_user_attr("identity", self.identity)
            self._repeat_unfinished()
            yield

    def _repeat_unfinished(self) -> None:
        from optuna.trial import TrialState

        trials = self.study.get_trials()
        for number, trial in enumerate(trials):
            if trial.state == TrialState.RUNNING:
                self.study.tell(number, state=TrialState.FAIL)
            elif trial.state != TrialState.FAIL:
                continue
            later = (other.system_attrs.get("fixed_params", other.params) for other in trials[number + 1 :])
            if trial.distributions == self.space and trial.params not in later:
                self.study.enqueue_trial(trial.params, {REPORTED: trial.intermediate_values})

    def next_round(self) -> list[tuple[str, ...]]:
        """Return the settings of the next jobs, each once; no jobs after the last trial."""
        from optuna.samplers import BaseSampler

        self._round = []
        for _ in range(min(self.settings["n_jobs"], self.settings["n_trials"] - self.asked)):
            # Each trial has its own seed: a search that is continued would else draw its first trials again.
            seed = self.settings["seed"] + self.asked
            self.study.sampler = build(self.settings["sampler"], BaseSampler, "hydra.sweeper.sampler", seed=seed)  # type: ignore[type-abstract]
            trial = self.study.ask(self.space)
            for step, score in trial.user_attrs.get(REPORTED, {}).items():
                trial.report(score, int(step))
            words = [f"{key}={value_text(value)}" for key, value in trial.params.items()]
            self._round.append((trial, (*self.fixed, *words)))
            self.asked += 1
        numbers = {words: trial.number for trial, words in self._round}
        return [(*words, f"hydra.sweeper.trial={number}") for words, number in numbers.items()]

    def finish_round(self, folders: Sequence[str | None]) -> None:
        """Store the scores of a round.

        Args:
            folders: of the jobs, in the order of ``next_round``; None for a job that failed.

        Raises:
            UserError: if a finished job has no score.
        """
        from optuna.trial import TrialState

        unique = dict.fromkeys(words for _, words in self._round)
        found = dict(zip(unique, folders, strict=True))
        self.launched += len(unique)
        for trial, words in self._round:
            folder = found[words]
            if folder is None:
                self.study.tell(trial, state=TrialState.FAIL)
            elif (Path(folder) / RESULTS).is_file():
                self.study.tell(trial, _score(Path(folder), self.settings["metric"]))
            else:
                self.study.tell(trial, state=TrialState.PRUNED)


def _score(folder: Path, metric: str) -> float:
    scores = read_json(folder / RESULTS)["figures"][metric]
    if scores is None or scores["miou"] is None:
        raise UserError(
            f"{folder / RESULTS} has no mean IoU {metric}, which the search maximises. It needs validation images with "
            "masks. hydra.sweeper.metric=with_crf also needs evaluation.crf=final or always."
        )
    return float(scores["miou"])
