"""Slurm's answers to a sweep: which setting to change after a refusal, and what a cluster without accounting lacks."""

from __future__ import annotations

import re
import subprocess

# Words of sbatch, and the settings to change. The first line that matches counts.
ADVICE = (
    (
        r"generic resource|gres",
        "hydra.launcher.gpus_per_node=0 asks for no GPU, and hydra.launcher.gpus_per_node=null "
        "hydra.launcher.gres=gpu:<type>:1 for one of a type. sinfo --format='%P %G' lists the GPUs of each partition",
    ),
    (
        r"Memory",
        "Lower hydra.launcher.mem_gb, for example hydra.launcher.mem_gb=4. sinfo --format='%P %m' lists megabytes",
    ),
    (
        r"CPU count|processors",
        "Lower hydra.launcher.cpus_per_task, for example hydra.launcher.cpus_per_task=1 data.workers=0",
    ),
    (
        r"account",
        "Give hydra.launcher.account=<name>, and its hydra.launcher.partition=<name>. "
        "sacctmgr show associations user=$USER lists them",
    ),
    (
        r"time limit",
        "Lower hydra.launcher.timeout_min, for example hydra.launcher.timeout_min=60: a job that reaches its limit is "
        "queued again. sinfo --format='%P %l' lists the limits",
    ),
    (r"qos|QOS", "Give hydra.launcher.qos=<name>, or lower hydra.launcher.timeout_min, mem_gb or cpus_per_task"),
    (r"job array", "Give fewer values: scontrol show config states the most jobs of an array, as MaxArraySize"),
    (r"partition", "Give hydra.launcher.partition=<name>. sinfo lists the partitions"),
    (
        r"",
        "These settings ask for resources: hydra.launcher.gpus_per_node (0: no GPU), mem_gb, cpus_per_task, "
        "timeout_min, partition and account",
    ),
)


def refusal(error: BaseException) -> str | None:
    """Return the message for jobs that ``sbatch`` did not accept; None for any other error.

    Args:
        error: raised by submitit. Its cause is the error of the process of ``sbatch``.
    """
    cause = error.__cause__
    if not isinstance(cause, subprocess.CalledProcessError) or cause.cmd[0] != "sbatch":
        return None
    answer = " ".join(str(cause.stderr).split())
    if re.search(r"(?i)unable to contact|connection refused|timed out", answer):
        return f"Slurm does not answer. Give the command again when sinfo works. ({answer})"
    advice = next(advice for words, advice in ADVICE if re.search(words, answer))
    return f"Slurm does not accept the jobs of this sweep. {advice}. ({answer})"


def no_accounting() -> str | None:
    """Return what a sweep does not notice on a cluster whose ``sacct`` does not work; None if it works."""
    try:
        done = subprocess.run(["sacct", "--noheader", "--jobs=1"], capture_output=True, text=True, timeout=60)
        reason = "" if done.returncode == 0 else " ".join(done.stderr.split())
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    if not reason:
        return None
    return (
        f"sacct does not work here ({reason}), so this command cannot notice that a job was killed, and waits for it. "
        "When squeue lists no job of the sweep any more, press Ctrl-C and give the same command again."
    )
