"""A refusal of Slurm names the setting to change, and a sweep warns where Slurm keeps no accounts of jobs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from secseg.cli.cluster import no_accounting, refusal
from secseg.cli.messages import explain


def refused(answer: str, program: str = "sbatch") -> Exception:
    """Return the error of submitit for an answer of ``sbatch``."""
    error = RuntimeError(answer)
    error.__cause__ = subprocess.CalledProcessError(1, [program, "script.sh"], output="", stderr=answer)
    return error


# The answers of Slurm 22.05.8, except for the last two lines.
@pytest.mark.parametrize(
    ("answer", "setting"),
    [
        ("sbatch: error: Invalid generic resource (gres) specification", "hydra.launcher.gpus_per_node=0"),
        (
            "sbatch: error: Memory specification can not be satisfied\n"
            "sbatch: error: Batch job submission failed: Requested node configuration is not available",
            "hydra.launcher.mem_gb=4",
        ),
        (
            "sbatch: error: Batch job submission failed: More processors requested than permitted",
            "hydra.launcher.cpus_per_task",
        ),
        (
            "sbatch: error: Batch job submission failed: "
            "Requested time limit is invalid (missing or exceeds some limit)",
            "hydra.launcher.timeout_min",
        ),
        (
            "sbatch: error: invalid partition specified: foo\n"
            "sbatch: error: Batch job submission failed: Invalid partition name specified",
            "hydra.launcher.partition=<name>",
        ),
        (
            "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
            "hydra.launcher.account=<name>",
        ),
        ("sbatch: error: Batch job submission failed: Invalid job array specification", "MaxArraySize"),
        ("sbatch: error: Batch job submission failed: Invalid qos specification", "hydra.launcher.qos=<name>"),
        ("sbatch: error: the site's own rule", "hydra.launcher.gpus_per_node (0: no GPU), mem_gb"),
    ],
)
def test_each_refusal_names_its_setting(answer: str, setting: str) -> None:
    message = explain(refused(answer), "train", [])
    assert message is not None
    assert message.startswith("Slurm does not accept the jobs of this sweep. ")
    assert setting in message
    assert message.endswith(f"({' '.join(answer.split())})")


def test_a_cluster_that_does_not_answer_is_no_refusal() -> None:
    answer = "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)"
    message = refusal(refused(answer))
    assert message is not None
    assert message.startswith("Slurm does not answer. Give the command again when sinfo works.")


def test_the_error_of_another_program_is_no_refusal() -> None:
    assert refusal(refused("no such file", "scontrol")) is None
    assert refusal(RuntimeError("sbatch")) is None


def test_a_machine_without_slurm_is_named() -> None:
    error = RuntimeError('Could not detect "srun", are you indeed on a slurm cluster?')
    assert str(explain(error, "train", [])).startswith("There is no srun on this machine")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 0", None),
        ("echo Slurm accounting storage is disabled >&2; exit 1", "(Slurm accounting storage is disabled)"),
        (None, "No such file"),
    ],
)
def test_missing_accounting_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, reason: str | None
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    if script is not None:
        (tmp_path / "sacct").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "sacct").chmod(0o755)
    warning = no_accounting()
    if reason is None:
        assert warning is None
    else:
        assert reason in str(warning)
        assert "press Ctrl-C" in str(warning)
