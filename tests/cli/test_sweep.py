"""Sweeps run each job once, even if other jobs fail, the process is killed or the machine crashes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from secseg.cli.sweep import fingerprint
from secseg.training.settings import check_settings
from secseg.utils.config import compose as compose_config
from secseg.utils.config import config_dir, to_plain
from secseg.utils.files import locked
from tests.cli.test_cli import TRAIN, run
from tests.conftest import REPOSITORY
from tests.training.tiny_run import TINY

# Stands for the training: KILL and BREAK name the job that ends before its checkpoint and after it.
FAKE = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {source!r})
from secseg.cli.command import run_command
from secseg.cli.sweep import run_job
from secseg.training.settings import check_settings

def train(config):
    check_settings(config)
    folder = Path(config["run_dir"])
    with open({calls!r}, "a") as file:
        file.write(folder.name.rpartition("-")[0] + " " + config["resume"] + "\\n")
    def ends(when):
        return os.environ.get(when) and os.environ[when] in folder.name
    if config["compile"]:
        raise RuntimeError("an assumption broke")
    (folder / "config.yaml").touch()
    if ends("KILL"):
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "checkpoints" / "last.ckpt").touch()
    if ends("BREAK"):
        os.kill(os.getpid(), signal.SIGKILL)
    if ends("INTERRUPT"):
        raise KeyboardInterrupt
    time.sleep(float(os.environ.get("SECONDS_EACH", 0)))
    (folder / "results.json").write_text(os.environ.get("RESULTS", ""))
    return folder

run_command("train", lambda config: run_job(config, train), "")
"""


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    script = tmp_path / "fake.py"
    script.write_text(FAKE.format(source=str(REPOSITORY / "src"), calls=str(tmp_path / "calls")))
    return script


def calls(folder: Path) -> Counter[str]:
    return Counter((folder / "calls").read_text().splitlines())


def settings(study: Path) -> list[str]:
    """The names of a study's jobs without their fingerprints."""
    return sorted(path.name.rpartition("-")[0] for path in study.iterdir() if path.is_dir() and path.name[0] != ".")


def test_folders_are_named_after_the_settings_that_vary(fake: Path, tmp_path: Path) -> None:
    result = run(fake, tmp_path, "-m", "seed=0,1", "optim.optimizer.lr=0.1", "+optim.optimizer.eps=1e-7,1e-8")
    assert result.returncode == 0, result.stderr
    names = [f"seed={seed},optim.optimizer.eps={eps}" for seed in (0, 1) for eps in ("1e-07", "1e-08")]
    assert settings(tmp_path / "runs" / "sec") == names
    last = ["runs/sec: 4 of 4 runs are finished.", f"run: {tmp_path / 'runs' / 'sec'}"]
    assert result.stdout.splitlines()[-2:] == last


def test_the_warnings_of_the_runs_are_printed_once_at_the_end(fake: Path, tmp_path: Path) -> None:
    result = run(fake, tmp_path, "-m", "seed=0,1", RESULTS='{"warnings": ["All masks are background alone."]}')
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-3:-1] == [
        "runs/sec: 2 of 2 runs are finished.",
        "All 2 runs: All masks are background alone.",
    ]


@pytest.mark.parametrize(("when", "resumed"), [("KILL", "never"), ("BREAK", "auto")])
def test_a_killed_sweep_resumes_with_the_job_that_was_killed(
    fake: Path, tmp_path: Path, when: str, resumed: str
) -> None:
    words = ("-m", "loss=seed,sec", "seed=0,1")
    assert run(fake, tmp_path, *words, **{when: "loss=sec,seed=0"}).returncode == -signal.SIGKILL
    assert run(fake, tmp_path, *words).returncode == 0
    once = {"loss=seed,seed=0 never", "loss=seed,seed=1 never", "loss=sec,seed=1 never"}
    assert calls(tmp_path) == Counter(once) + Counter(["loss=sec,seed=0 never", f"loss=sec,seed=0 {resumed}"])


def test_ctrl_c_ends_the_sweep_and_the_same_command_resumes_it(fake: Path, tmp_path: Path) -> None:
    result = run(fake, tmp_path, "-m", "seed=0,1,2", INTERRUPT="seed=1")
    assert (result.returncode, result.stderr) == (130, "Interrupted. The same command continues.\n")
    assert run(fake, tmp_path, "-m", "seed=0,1,2").returncode == 0
    assert calls(tmp_path) == Counter(["seed=0 never", "seed=1 never", "seed=1 auto", "seed=2 never"])


def test_another_value_adds_only_its_own_jobs(fake: Path, tmp_path: Path) -> None:
    run(fake, tmp_path, "-m", "seed=0,1")
    result = run(fake, tmp_path, "-m", "seed=0,1,2", "data.workers=0", "logger=[csv,wandb]")
    assert result.returncode == 0, result.stderr
    assert calls(tmp_path) == Counter([f"seed={seed} never" for seed in (0, 1, 2)]), (
        "workers and loggers change nothing"
    )
    assert "runs/sec: 3 of 3" in result.stdout
    run(fake, tmp_path, "-m", "seed=0,1,2", "data.batch_size=3")
    assert calls(tmp_path) == Counter([f"seed={seed} never" for seed in (0, 0, 1, 1, 2, 2)])


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_bad_value_ends_only_its_own_job_and_is_reported_at_the_end(
    fake: Path, tmp_path: Path, launcher: str
) -> None:
    result = run(fake, tmp_path, "-m", "decay.pos=0.5,2,0.7", f"hydra/launcher={launcher}")
    assert result.returncode == 1
    assert "runs/sec: 2 of 3 runs are finished." in result.stdout
    failed = next(tmp_path.glob("runs/sec/decay.pos=2-*"))
    reason = "decay.pos=2: give a number in [0, 1] (0 is max pooling, 1 average pooling)."
    assert result.stderr.endswith(f"1 failed. The same command runs it again:\n  {failed.name}: {reason}\n")
    assert "Traceback" not in result.stderr
    assert json.loads((failed / "failure.json").read_text()) == {"reason": reason, "traceback": None}
    assert run(fake, tmp_path, "-m", "decay.pos=0.5,0.6").returncode == 0, "an earlier failure is not this sweep's"


def test_an_error_of_ours_is_stored_with_its_traceback_until_it_is_fixed(fake: Path, tmp_path: Path) -> None:
    assert run(fake, tmp_path, "-m", "compile=true,false").returncode == 1
    (file,) = tmp_path.glob("runs/sec/*/failure.json")
    assert json.loads(file.read_text())["reason"] == "RuntimeError: an assumption broke"
    assert "Traceback" in json.loads(file.read_text())["traceback"]
    fake.write_text(fake.read_text().replace('if config["compile"]:', "if False:"))
    assert run(fake, tmp_path, "-m", "compile=true,false").returncode == 0
    assert not list(tmp_path.glob("runs/sec/*/failure.json"))


def test_the_reason_is_the_first_error_and_not_one_of_the_teardown(fake: Path, tmp_path: Path) -> None:
    sound = 'raise RuntimeError("an assumption broke")'
    broken = f'try:\n            {sound}\n        finally:\n            raise KeyError("tidying")'
    fake.write_text(fake.read_text().replace(sound, broken))
    assert run(fake, tmp_path, "-m", "compile=true,false").returncode == 1
    (file,) = tmp_path.glob("runs/sec/*/failure.json")
    assert json.loads(file.read_text())["reason"] == "RuntimeError: an assumption broke"


def test_the_finished_job_of_another_study_is_linked(fake: Path, tmp_path: Path) -> None:
    run(fake, tmp_path, "-m", "name=a", "loss=seed", "seed=0,1")
    result = run(fake, tmp_path, "-m", "name=studies/b", "loss=seed,sec", "seed=0")
    assert calls(tmp_path) == Counter(["seed=0 never", "seed=1 never", "loss=sec never"])
    (link,) = (path for path in (tmp_path / "runs/studies/b").iterdir() if path.is_symlink())
    assert link.resolve().parent == tmp_path / "runs" / "a"
    assert "runs/studies/b: 2 of 2" in result.stdout
    link.resolve().rename(tmp_path / "gone")
    assert run(fake, tmp_path, "-m", "name=studies/b", "loss=seed,sec", "seed=0").returncode == 0
    assert not link.is_symlink(), "what it led to is gone, so it is computed"


def test_a_job_that_another_process_runs_is_skipped(fake: Path, tmp_path: Path) -> None:
    run(fake, tmp_path, "-m", "seed=0,1")
    first, second = sorted(tmp_path.glob("runs/sec/seed=*"))
    for folder in (first, second):
        (folder / "results.json").unlink()
    with locked(first, ".lock"):
        result = run(fake, tmp_path, "-m", "seed=0,1")
    assert result.returncode == 0
    assert f"Another process ({os.getpid()}) writes into {first}" in result.stderr
    assert [(folder / "results.json").exists() for folder in (first, second)] == [False, True]


def test_the_same_sweep_started_twice_runs_each_job_once(fake: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(fake), "-m", "seed=0,1,2,3"]
    environment = {**os.environ, "SECONDS_EACH": "0.4"}
    both = [subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    assert calls(tmp_path) == Counter(f"seed={seed} never" for seed in range(4))


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_every_launcher_gives_the_same_folders(fake: Path, tmp_path: Path, launcher: str) -> None:
    for name, words in {"basic": [], "other": [f"hydra/launcher={launcher}"]}.items():
        result = run(fake, tmp_path, "-m", "loss=seed,sec", f"hydra.sweep.dir={name}", *words)
        assert result.returncode == 0, result.stderr
    names = [{p.name for p in (tmp_path / n).iterdir() if p.name.startswith("loss=")} for n in ("basic", "other")]
    assert len(names[0]) == 2
    assert names[0] == names[1]
    assert calls(tmp_path) == Counter(["loss=seed never", "loss=sec never"] * 2)


def test_the_slurm_launcher_passes_its_settings_to_sbatch(fake: Path, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, line in {"srun": "", "sbatch": f"cp $1 {tmp_path}/script; echo no such partition >&2; exit 1"}.items():
        (programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (programs / name).chmod(0o755)
    words = ["hydra/launcher=slurm"] + [
        f"hydra.launcher.{word}"
        for word in ("partition=gpu", "timeout_min=90", "array_parallelism=2", "gpus_per_node=1")
    ]
    result = run(fake, tmp_path, "-m", "seed=0,1,2", *words, PATH=f"{programs}:{os.environ['PATH']}")
    assert result.returncode == 1
    assert "Slurm does not accept the jobs of this sweep. Give hydra.launcher.partition=<name>." in result.stderr
    assert "(no such partition)" in result.stderr
    assert "Traceback" not in result.stderr
    script = (tmp_path / "script").read_text()
    for option in ("partition=gpu", "time=90", "array=0-2%2", "gpus-per-node=1", "cpus-per-task=4", "signal=USR2@120"):
        assert f"#SBATCH --{option}\n" in script, script


@pytest.mark.parametrize(("option", "extra"), [("joblib", "joblib"), ("submitit_local", "slurm"), ("slurm", "slurm")])
def test_a_launcher_whose_package_is_missing_names_the_extra(
    fake: Path, tmp_path: Path, option: str, extra: str
) -> None:
    hidden = "import sys; sys.modules.update(dict.fromkeys(['hydra_plugins.hydra_joblib_launcher', "
    hidden += "'hydra_plugins.hydra_submitit_launcher'])); import warnings; warnings.simplefilter('ignore')\n"
    fake.write_text(hidden + fake.read_text())
    result = run(fake, tmp_path, "-m", "seed=0,1", f"hydra/launcher={option}")
    assert result.returncode == 1
    assert result.stderr.endswith(f"needs a package that is missing: pip install 'secseg[{extra}]'\n")


@pytest.mark.parametrize("word", ["run_dir=x", "ckpt_path=last.ckpt"])
def test_a_sweep_refuses_settings_of_a_single_run(fake: Path, tmp_path: Path, word: str) -> None:
    result = run(fake, tmp_path, "-m", "seed=0,1", word)
    assert result.returncode == 1
    assert f"leave out {word}." in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "calls").exists()


def test_resume_auto_of_a_single_run_does_not_resume_a_job_of_a_sweep(fake: Path, tmp_path: Path) -> None:
    from secseg.runs.run_folder import open_run_folder

    run(fake, tmp_path, "-m", "seed=0,1")
    assert open_run_folder(tmp_path / "runs" / "sec" / "now", "sec", "auto").resume_from is None


ABLATIONS = sorted(path.stem for path in (config_dir() / "experiment").glob("ablation_*.yaml"))


@pytest.mark.parametrize("first", [(), ("voc_animals",)], ids=["alone", "after voc_animals"])
@pytest.mark.parametrize("ablation", ABLATIONS)
def test_an_ablation_crosses_its_settings_with_the_seeds_and_each_job_is_valid(
    ablation: str, first: tuple[str, ...]
) -> None:
    words = [f"experiment=[{','.join([*first, ablation])}]", "random_seeds=[3,5]", "data.root=voc"]
    words += ["own_cues=mine.safetensors"] if ablation == "ablation_cues" else []
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        hydra = compose("train", words, return_hydra_config=True).hydra
        assert hydra.mode.name == "MULTIRUN"
        varied = [f"{key}={hydra.sweeper.params[key]}" for key in hydra.sweeper.params]
        (jobs,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides([*varied, *words]), None)
        configs = [compose("train", [*job, "run_dir=x"]) for job in jobs]
    for config in configs:
        check_settings(config)
    assert len({fingerprint(to_plain(config)) for config in configs}) == len(configs) >= 4
    assert Counter(config.seed for config in configs) == {3: len(configs) / 2, 5: len(configs) / 2}
    assert {config.name for config in configs} == {ablation}


@pytest.mark.parametrize("group", ["backbone", "callbacks", "crf", "decay", "loss", "optim", "seeds"])
def test_options_that_change_results_have_folders_of_their_own(group: str) -> None:
    options = sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))
    prints = {
        option: fingerprint(to_plain(compose_config("train", f"{group}={option}", "run_dir=x"))) for option in options
    }
    if group == "callbacks":
        assert prints.pop("seeds") == prints["default"], "figures alone"
    assert len(set(prints.values())) == len(prints) > 1


def test_a_real_training_that_was_killed_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    small = ["trainer.max_steps=8", "trainer.val_check_interval=4", "evaluation.crf=never", "loss=seed"]
    words = [*TINY, *small, "callbacks.pictures=null", "callbacks.curves=null", "-m", "seed=0,1"]
    process = subprocess.Popen([sys.executable, str(TRAIN), *words], cwd=tmp_path, stdout=subprocess.DEVNULL)
    while not (begun := list(tmp_path.glob("runs/sec/seed=1-*/checkpoints/last.ckpt"))):
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    (done,) = tmp_path.glob("runs/sec/*/results.json")
    folder, before = begun[0].parents[1], done.stat().st_mtime_ns
    assert not (folder / "results.json").exists()
    kept = (folder / "metrics.csv").read_text().splitlines()[:3]
    result = run(TRAIN, tmp_path, *words)
    assert result.returncode == 0, result.stderr
    assert done.stat().st_mtime_ns == before
    assert f"Continuing the run in {folder}" in result.stdout
    assert (folder / "metrics.csv").read_text().splitlines()[:3] == kept
    assert json.loads((folder / "results.json").read_text())["protocol"]["steps"] == 8


def test_a_job_that_its_cluster_signals_is_queued_again_and_resumes(tmp_path: Path) -> None:
    words = ["trainer.max_steps=40", "trainer.val_check_interval=10", "evaluation.crf=never", "loss=seed"]
    words += ["callbacks.pictures=null", "callbacks.curves=null", "-m", "seed=0", "hydra/launcher=submitit_local"]
    process = subprocess.Popen([sys.executable, str(TRAIN), *TINY, *words], cwd=tmp_path, stdout=subprocess.DEVNULL)
    while not any(tmp_path.glob("runs/sec/*/checkpoints/last.ckpt")):
        assert process.poll() is None
        time.sleep(0.05)
    jobs = [p for p in Path("/proc").glob("[0-9]*") if f"_submit\0{tmp_path}" in _command(p)]
    assert len(jobs) == 1
    os.kill(int(jobs[0].name), signal.SIGUSR2)  # what submitit asks Slurm to send before the time limit
    assert process.wait() == 0
    (folder,) = tmp_path.glob("runs/sec/job-*")
    assert json.loads((folder / "results.json").read_text())["protocol"]["steps"] == 40
    (log,) = tmp_path.glob("runs/sec/.submitit/*/*_log.out")
    assert f"Continuing the run in {folder}" in log.read_text()


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_text()
    except OSError:  # it has ended
        return ""


def test_jobs_run_in_parallel_with_loader_processes(tmp_path: Path) -> None:
    words = ["trainer.max_steps=1", "evaluation.crf=never", "callbacks.pictures=null", "callbacks.curves=null"]
    result = run(TRAIN, tmp_path, *TINY, *words, "data.workers=1", "-m", "loss=seed,sec", "hydra/launcher=joblib")
    assert result.returncode == 0, result.stderr[-3000:]
    assert "runs/sec: 2 of 2 runs are finished." in result.stdout
