"""A search runs each trial once, prunes bad ones, and continues after a kill as if it had not been killed."""

from __future__ import annotations

import json
import re
import signal
from collections import Counter
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from secseg.cli.search_space import space_of
from secseg.cli.study import job_report, open_study
from secseg.runs.wandb_logger import BEST_AND_LAST
from secseg.training.settings import check_settings
from secseg.utils.config import compose
from secseg.utils.errors import UserError
from tests.cli.test_cli import TRAIN, run
from tests.cli.test_sweep import calls
from tests.conftest import REPOSITORY
from tests.training.tiny_run import QUICK, TINY

# Stands for the training: its score is highest for decay.pos=0.3, and it validates at steps 20 and 40.
FAKE = """
import json, os, signal, sys
from pathlib import Path
sys.path.insert(0, {source!r})
from secseg.cli.command import run_command
from secseg.cli.sweep import run_job
from secseg.utils.errors import Pruned

def train(config, report=None):
    folder = Path(config["run_dir"])
    with open({calls!r}, "a") as file:
        file.write(folder.name.rpartition("-")[0] + " " + config["resume"] + "\\n")
    call = len(Path({calls!r}).read_text().splitlines())
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "checkpoints" / "last.ckpt").touch()
    score = 1 - abs(config["decay"]["pos"] - 0.3)
    for step in (20, 40):
        if step == 40 and call == int(os.environ.get("KILL", 0)):
            os.kill(os.getpid(), signal.SIGKILL)
        if step == 40 and call == int(os.environ.get("BREAK", 0)):
            raise RuntimeError("an assumption broke")
        if report and report(step, score * step / 60):
            raise Pruned(f"pruned after step {{step}}")
    scores = {{"without_crf": {{"miou": score}}, "with_crf": None}}
    (folder / "results.json").write_text(json.dumps({{"figures": scores}}))
    return folder

run_command("train", lambda config: run_job(config, train), "")
"""
SEARCH = ("-m", "hydra/sweeper=optuna", "decay.pos=interval(0,1)", "hydra.sweeper.pruner.n_startup_trials=2")
SIX = (*SEARCH, "hydra.sweeper.n_trials=6")


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    script = tmp_path / "fake.py"
    script.write_text(FAKE.format(source=str(REPOSITORY / "src"), calls=str(tmp_path / "calls")))
    return script


def table(output: str) -> list[str]:
    """The trials of the table at the end, without their numbers."""
    lines = output.splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("trial "))
    return [line.split(maxsplit=1)[1] for line in lines[start + 1 : -2]]


def test_a_killed_search_continues_as_if_it_had_not_been_killed(fake: Path, tmp_path: Path) -> None:
    whole = run(fake, tmp_path, *SIX, "hydra.sweep.dir=whole")
    assert whole.returncode == 0, whole.stderr
    once = calls(tmp_path)
    (tmp_path / "calls").unlink()
    killed = run(fake, tmp_path, *SIX, "hydra.sweep.dir=killed", KILL="3")
    assert killed.returncode == -signal.SIGKILL
    third = (tmp_path / "calls").read_text().splitlines()[2]
    result = run(fake, tmp_path, *SIX, "hydra.sweep.dir=killed")
    assert result.returncode == 0, result.stderr
    assert calls(tmp_path) == once + Counter([third.replace("never", "auto")])
    assert table(result.stdout) == table(whole.stdout)
    states = [trial.state.name for trial in open_study(tmp_path / "killed").get_trials()]
    assert states[2] == "FAIL"
    assert "pruned after step 20" in result.stdout


def test_a_finished_search_runs_nothing_and_a_larger_one_only_its_new_trials(fake: Path, tmp_path: Path) -> None:
    first = run(fake, tmp_path, *SIX)
    assert first.returncode == 0, first.stderr
    again = run(fake, tmp_path, *SIX)
    assert sum(calls(tmp_path).values()) == 6
    assert table(again.stdout) == table(first.stdout)
    assert run(fake, tmp_path, *SEARCH, "hydra.sweeper.n_trials=7").returncode == 0
    assert sum(calls(tmp_path).values()) == 7


def test_without_a_pruner_each_trial_runs_to_its_end(fake: Path, tmp_path: Path) -> None:
    result = run(fake, tmp_path, *SEARCH[:-1], "hydra.sweeper.n_trials=4", "hydra.sweeper.pruner=null")
    assert result.returncode == 0, result.stderr
    assert "runs/sec: 4 of 4 runs are finished.\n" in result.stdout
    best = max(trial.value or 0 for trial in open_study(tmp_path / "runs" / "sec").get_trials())
    assert f"val/miou={best:.4f}, decay.pos=" in result.stdout.splitlines()[-2]


def test_a_job_that_fails_is_run_again_by_the_same_command(fake: Path, tmp_path: Path) -> None:
    words = (*SEARCH, "hydra.sweeper.n_trials=3")
    result = run(fake, tmp_path, *words, BREAK="2")
    assert result.returncode == 1
    assert "1 failed. The same command runs it again" in result.stderr
    second = (tmp_path / "calls").read_text().splitlines()[1]
    assert run(fake, tmp_path, *words).returncode == 0
    assert calls(tmp_path)[second.replace("never", "auto")] == 1
    assert sum(calls(tmp_path).values()) == 4


def test_equal_trials_of_a_round_are_one_job(fake: Path, tmp_path: Path) -> None:
    words = ("-m", "hydra/sweeper=optuna", "decay.pos=choice(0.3)", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    result = run(fake, tmp_path, *words, "hydra.sweeper.n_trials=5", "hydra.sweeper.n_jobs=3")
    assert result.returncode == 0, result.stderr
    assert calls(tmp_path) == Counter(["decay.pos=0.3 never"])
    assert table(result.stdout) == ["0.3    1.0000"] * 5


def test_a_search_with_other_settings_needs_another_folder(fake: Path, tmp_path: Path) -> None:
    assert run(fake, tmp_path, *SEARCH, "hydra.sweeper.n_trials=1").returncode == 0
    result = run(fake, tmp_path, *SEARCH, "hydra.sweeper.n_trials=1", "data.batch_size=3")
    assert result.returncode == 1
    assert result.stderr.startswith("runs/sec has a search with other settings:\n  data.batch_size: 15 -> 3\n")
    assert "Traceback" not in result.stderr


def test_a_search_without_optuna_names_the_extra(fake: Path, tmp_path: Path) -> None:
    fake.write_text("import sys; sys.modules['optuna'] = None\n" + fake.read_text())
    result = run(fake, tmp_path, *SEARCH)
    assert result.returncode == 1
    assert result.stderr == (
        "hydra/sweeper=optuna needs a package that is missing. Install it: pip install 'secseg[optuna]'\n"
    )


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("a=interval(0.1,1)", FloatDistribution(0.1, 1.0)),
        ("a=tag(log,interval(1e-4,1e-2))", FloatDistribution(1e-4, 1e-2, log=True)),
        ("a=int(interval(1,9))", IntDistribution(1, 9)),
        ("a=range(1,9,2)", IntDistribution(1, 7, step=2)),
        ("a=range(0.5,2,0.5)", FloatDistribution(0.5, 1.5, step=0.5)),
        ("a=range(9,1,-4)", IntDistribution(5, 9, step=4)),
        ("a=choice(x,[1,2])", CategoricalDistribution(["x", "[1,2]"])),
        ("a=seed,sec", CategoricalDistribution(["seed", "sec"])),
    ],
)
def test_ranges_are_those_of_hydra(word: str, expected: object) -> None:
    assert space_of(OverridesParser.create().parse_overrides([word, "b=3"])) == {"a": expected}


@pytest.mark.parametrize("word", ["a=3", "a=tag(log,interval(0,1))", "a=interval(1,0)"])
def test_a_space_without_a_range_is_refused(word: str) -> None:
    with pytest.raises(UserError, match=r"range|not valid"):
        space_of(OverridesParser.create().parse_overrides([word]))


def test_a_job_reports_each_step_once_and_is_pruned_below_the_median(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    sweeper = {"pruner": {"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": 2}}
    for score in (0.5, 0.7):
        trial = study.ask({"a": FloatDistribution(0, 1)})
        report = job_report({**sweeper, "trial": trial.number}, tmp_path)
        assert report is not None
        assert not report(20, score)
        assert not report(20, score), "a resumed job validates again"
        study.tell(trial, score)
    for score, pruned in ((0.59, True), (0.61, False)):
        trial = study.ask({"a": FloatDistribution(0, 1)})
        report = job_report({**sweeper, "trial": trial.number}, tmp_path)
        assert report is not None
        assert report(20, score) is pruned, "the median is 0.6"
    assert job_report({"params": None}, tmp_path) is None


def test_a_search_trains_on_the_built_in_data(tmp_path: Path) -> None:
    words = [word for word in TINY if not word.startswith("trainer.max_steps")]
    search = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "decay.pos=interval(0.9,0.999)"]
    steps = ["trainer.max_steps=2", "trainer.val_check_interval=1", "hydra.sweeper.pruner.n_startup_trials=0"]
    result = run(TRAIN, tmp_path, *search, *words, *QUICK, *steps)
    assert result.returncode == 0, result.stderr
    study = open_study(tmp_path / "runs" / "sec")
    for trial in study.get_trials():
        assert 1 in trial.intermediate_values
        (folder,) = (tmp_path / "runs" / "sec").glob(f"decay.pos={trial.params['decay.pos']:.6g}-*")
        if trial.state.name == "PRUNED":
            assert json.loads((folder / "pruned.json").read_text())["reason"].startswith("pruned after step 1")
        else:
            figures = json.loads((folder / "results.json").read_text())["figures"]
            assert trial.value == pytest.approx(figures["without_crf"]["miou"])


def test_the_documented_sweep_of_wandb_composes_with_each_of_its_values() -> None:
    text = (REPOSITORY / "docs" / "wandb.md").read_text("utf-8")
    found = re.search(r"```yaml\n(program:.*?)```", text, re.DOTALL)
    assert found is not None
    sweep = yaml.safe_load(found[1])
    assert (REPOSITORY / sweep["program"]).is_file()
    assert sweep["command"][:2] == ["python", "${program}"]
    assert sweep["command"][-1] == "${args_no_hyphens}", "key=value, as Hydra reads it"
    assert sweep["metric"]["name"].removesuffix(".last") in BEST_AND_LAST
    values = {key: node.get("values") or [node["min"], node["max"]] for key, node in sweep["parameters"].items()}
    for chosen in zip(*values.values(), strict=True):
        words = [f"{key}={value}" for key, value in zip(values, chosen, strict=True)]
        config = compose("train", *sweep["command"][2:-1], *words, "run_dir=runs/x")
        check_settings(config)
        assert set(config.logger) == {"csv", "wandb"}
        assert config.decay.pos == chosen[0]
