"""The processes of one training: which of them start the others, and how they agree on one run folder.

Lightning starts the processes of a run itself, unless Slurm's ``srun`` or ``torchrun`` has started them. Lightning
takes Slurm's variables as a sign of ``srun``. A shell of an allocation (``salloc``) and a batch script have most of
these variables, too, and there one process would wait for others that nobody starts.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from pytorch_lightning.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    LSFEnvironment,
    MPIEnvironment,
    SLURMEnvironment,
)

from secseg.runs.run_folder import RunFolder
from secseg.utils.errors import UserError

STARTED, UNCERTAIN = 600.0, 40.0
"""Seconds in which the other processes must arrive: those that ``srun`` or ``torchrun`` has started, and those of a
batch script in which only Slurm's variables promise them."""
PORT_OFFSET = 10_000
"""Distance of the port on which processes agree from the port that torch uses afterwards."""


class SlurmTasks(SLURMEnvironment):
    """The tasks of ``srun``, without Lightning's checks: they fail in ``srun`` below ``salloc``, whose job has the name
    "interactive". ``cluster_environment`` has checked the settings."""

    @staticmethod
    def _validate_srun_used() -> None:
        pass

    @staticmethod
    def _validate_srun_variables() -> None:
        pass

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        pass


@dataclass(frozen=True)
class Group:
    """The processes of a run that another program has started.

    Attributes:
        rank, size: number of this process, and number of processes.
        address, port: where the first process listens while they agree.
        job: identifies the run among others on the same machine.
        seconds: how long to wait for other processes.
        variable: the environment variable that states ``size``.
    """

    rank: int
    size: int
    address: str
    port: int
    job: str
    seconds: float
    variable: str


def cluster_environment(trainer: Mapping[str, Any]) -> ClusterEnvironment | None:
    """Return how the processes of a run come about; None below ``torchrun``, LSF or MPI, which Lightning recognises.

    Lightning's own choice would take the process of a batch script for a task of ``srun``, and would put the job of
    such a task into the queue again at SIGUSR1, in addition to the launcher or the batch script.

    Args:
        trainer: ``trainer.*``, plain: ``accelerator``, ``devices`` and ``num_nodes`` are read.

    Raises:
        UserError: if the settings need another number of processes than Slurm has started or can start.
    """
    if _of_torchrun():
        return None
    if "SLURM_NTASKS" not in os.environ:
        return None if LSFEnvironment.detect() or MPIEnvironment.detect() else LightningEnvironment()
    tasks, needed, nodes = int(os.environ["SLURM_NTASKS"]), _devices(trainer), int(trainer.get("num_nodes", 1))
    if tasks > 1 and (_of_srun() or (_may_be_of_srun() and needed * nodes > 1)):
        if tasks != needed * nodes:
            _refuse(tasks, needed, nodes)
        return SlurmTasks(auto_requeue=False)
    if nodes > 1:
        raise UserError(
            f"trainer.num_nodes={nodes}, but Slurm has not started this process on several machines: SLURM_STEP_ID is "
            f"not set. Start it with srun --nodes={nodes} --ntasks-per-node={needed} python ..."
        )
    return LightningEnvironment()


def shared_run_folder(trainer: Mapping[str, Any], open_folder: Callable[[], RunFolder]) -> RunFolder:
    """Return the run folder that the first process chooses with ``open_folder``, in all processes of a run.

    Processes that Lightning starts get it with their command line.

    Raises:
        UserError: that of ``open_folder``, in all processes; or if other processes do not answer.
    """
    group = _group(cluster_environment(trainer))
    if group is None:
        return open_folder()
    if group.rank:
        return _ask(group)
    try:
        run = open_folder()
    except UserError as error:
        _answer(group, {"error": str(error)})
        raise
    resume = None if run.resume_from is None else str(run.resume_from.absolute())
    _answer(group, {"path": str(run.path.absolute()), "resume_from": resume})
    return run


def leave_own_folder(own: str | Path, run: RunFolder) -> None:
    """Remove the folder that Hydra has made for this process, if it is empty and the run has another one."""
    if Path(own).absolute() != run.path.absolute():
        with suppress(OSError):
            Path(own).rmdir()


def _of_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def _of_srun() -> bool:
    """Return whether ``srun`` has started this process as one of its tasks, and not a shell in which it runs."""
    shell = "SLURM_PTY_PORT" in os.environ and sys.stdin is not None and sys.stdin.isatty()  # srun --pty bash
    own = "LOCAL_RANK" in os.environ  # Lightning has started this process
    return not own and (("SLURM_STEP_ID" in os.environ and not shell) or int(os.environ.get("SLURM_PROCID", 0)) > 0)


def _may_be_of_srun() -> bool:
    """Return whether Slurm has numbered this process, as in a batch script."""
    return "SLURM_PROCID" in os.environ and "SLURM_PTY_PORT" not in os.environ and "LOCAL_RANK" not in os.environ


def _devices(trainer: Mapping[str, Any]) -> int:
    """Return the number of processes that the settings start on each machine."""
    devices = trainer.get("devices", 1)
    if isinstance(devices, list):
        return len(devices)
    if str(devices) in ("auto", "-1"):
        on_cpu = trainer.get("accelerator") == "cpu"
        return max(1, 0 if on_cpu else torch.cuda.device_count())
    return int(devices)


def _refuse(tasks: int, needed: int, nodes: int) -> NoReturn:
    machines = int(os.environ.get("SLURM_NNODES", 1))
    several = f" trainer.num_nodes={machines}" if machines > 1 else ""
    raise UserError(
        f"srun has started {tasks} processes (SLURM_NTASKS={tasks}), and trainer.devices and trainer.num_nodes are for "
        f"{needed * nodes}. For a training on {tasks} devices give trainer=ddp trainer.devices={tasks // machines}"
        f"{several}; for one process type: srun --ntasks=1 python ..."
    )


def _group(environment: ClusterEnvironment | None) -> Group | None:
    """Return the group of this process, if processes of the run chose their folders separately."""
    if _of_torchrun() and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        rank, size, variable = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), "WORLD_SIZE"
        address, port, job = (
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            os.environ["TORCHELASTIC_RUN_ID"],
        )
        seconds = STARTED
    elif isinstance(environment, SlurmTasks):
        rank, size, variable = environment.global_rank(), environment.world_size(), "SLURM_NTASKS"
        address, port = environment.main_address, environment.main_port
        job = f"{os.environ.get('SLURM_JOB_ID')}.{os.environ.get('SLURM_STEP_ID')}"
        seconds = STARTED if _of_srun() else UNCERTAIN
    else:
        return None
    port += PORT_OFFSET if port + PORT_OFFSET < 2**16 else -PORT_OFFSET
    return Group(rank, size, address, port, job, seconds, variable)


def _answer(group: Group, choice: Mapping[str, Any]) -> None:
    """Send the choice of the first process to each of the others."""
    deadline = time.monotonic() + group.seconds
    message = json.dumps({"job": group.job, **choice}).encode()
    arrived: set[int] = set()
    try:
        family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
        server = socket.create_server(("", group.port), family=family, dualstack_ipv6=family == socket.AF_INET6)
    except OSError as error:
        raise UserError(
            f"The first process cannot listen on port {group.port}: {error.strerror}. Choose another port with the "
            f"variable MASTER_PORT, for example {group.port - PORT_OFFSET - 1}."
        ) from error
    with closing(server):
        while len(arrived) < group.size - 1:
            server.settimeout(max(0.1, deadline - time.monotonic()))
            try:
                connection, _ = server.accept()
            except TimeoutError:
                _report_missing(group, len(arrived) + 1)
            with closing(connection), suppress(OSError, ValueError, TypeError, KeyError):  # not one of these processes
                connection.settimeout(10)
                asked = json.loads(connection.recv(1000))
                if asked["job"] == group.job:
                    connection.sendall(message)
                    arrived.add(int(asked["rank"]))


def _ask(group: Group) -> RunFolder:
    """Return the folder that the first process has chosen.

    Raises:
        UserError: that of the first process; or if it does not answer.
    """
    deadline = time.monotonic() + group.seconds
    answer: dict[str, Any] = {}
    while not answer:
        if time.monotonic() > deadline:
            raise UserError(
                f"The first of {group.size} processes ({group.variable}={group.size}) did not answer at "
                f"{group.address}, port {group.port}, within {group.seconds:.0f} seconds. See its message."
            )
        try:
            with socket.create_connection((group.address, group.port), 10) as connection:
                connection.sendall(json.dumps({"job": group.job, "rank": group.rank}).encode())
                connection.settimeout(max(1.0, deadline - time.monotonic()))
                found = json.loads(b"".join(iter(lambda: connection.recv(65536), b"")))
            answer = found if isinstance(found, dict) and found.get("job") == group.job else {}
        except (OSError, ValueError):
            pass
        if not answer:  # it does not listen yet, or another program listens there
            time.sleep(0.5)
    if "error" in answer:
        raise UserError(answer["error"])
    return RunFolder(Path(answer["path"]), answer["resume_from"] and Path(answer["resume_from"]))


def _report_missing(group: Group, there: int) -> NoReturn:
    raise UserError(
        f"{group.variable}={group.size}, but only {there} of {group.size} processes came within {group.seconds:.0f} "
        "seconds. In a shell or batch script of Slurm, type srun before python, so that Slurm starts all of them; or "
        f"give trainer.devices=1 trainer.strategy=auto for one process; or type unset {group.variable}, so that this "
        "process starts the others."
    )
