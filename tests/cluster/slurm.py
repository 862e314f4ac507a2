"""A Slurm cluster of this one machine, in a folder of its own: configuration, daemons, state and logs.

    python -m tests.cluster.slurm start <folder>    # then: export SLURM_CONF=<folder>/slurm.conf
    python -m tests.cluster.slurm stop <folder>

Debian and Ubuntu have the programs: ``apt-get install slurmctld slurmd slurm-client munge``, and for the accounting
(``sacct``) ``slurmdbd slurm-wlm-mysql-plugin mariadb-server-core mariadb-client-core``. The daemons run as root, since
they start jobs for users.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "salloc", "sbatch", "sinfo", "squeue", "scancel", "scontrol")
ACCOUNTING = ("mariadbd", "mariadb-install-db", "my_print_defaults", "slurmdbd", "sacctmgr")
CPUS, MEMORY = 8, 16384
"""CPUs and megabytes that the cluster believes to have, so that several jobs run at once on a small machine."""
SECONDS = 600.0
"""How long a daemon may take until it answers."""

CONFIG = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=1024
SchedulerParameters=bf_interval=2
SlurmdParameters=config_overrides
EnforcePartLimits=ALL
ReturnToService=2
KillWait=10
{accounting}
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=60 State=UP
"""
STORAGE = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={dbd}
AccountingStoragePass={folder}/munge.socket
AccountingStorageEnforce=associations
"""
DATABASE = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdPort={dbd}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm
PidFile={folder}/slurmdbd.pid
"""
USERS = """\
CREATE USER IF NOT EXISTS 'slurm'@'127.0.0.1' IDENTIFIED BY '{password}';
GRANT ALL ON slurm.* TO 'slurm'@'127.0.0.1';
"""


class ClusterError(Exception):
    """A daemon of the cluster does not start or answer."""


def missing() -> str:
    """Return what a cluster needs and this machine does not have; "" if nothing."""
    if absent := [name for name in PROGRAMS if program(name) is None]:
        return f"needs Slurm: not installed are {', '.join(absent)}"
    return "" if os.geteuid() == 0 else "needs root: the daemons start jobs for users"


def program(name: str) -> str | None:
    """Return the path of a program. Daemons are outside the PATH of most users."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin:/sbin")


def start(folder: Path) -> None:
    """Start a cluster in ``folder``, and wait until its node is idle.

    Raises:
        ClusterError: with the end of the log of the daemon that failed.
    """
    if reason := missing():
        raise ClusterError(f"A cluster {reason}.")
    folder = folder.absolute()
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    accounting = all(map(program, ACCOUNTING))
    try:
        ports = _write_config(folder, accounting)
        _start_munge(folder)
        if accounting:
            _start_accounting(folder, ports)
        _start(folder, "slurmctld", "-D")
        _wait(folder, "slurmctld", lambda: "is UP" in ask(folder, "scontrol", "ping"))
        _start(folder, "slurmd", "-D")
        _wait(folder, "slurmd", lambda: ask(folder, "sinfo", "--noheader", "--format=%T") == "idle")
    except BaseException:
        stop(folder)
        raise


def stop(folder: Path) -> None:
    """End all jobs, then the daemons. The folder stays, with the logs."""
    folder = folder.absolute()
    if (folder / "slurmctld.daemon").is_file():
        ask(folder, "scancel", "--me", "--full", "--signal=KILL", seconds=10)
        ask(folder, "scancel", "--me", seconds=10)
        until = time.monotonic() + 30
        while ask(folder, "squeue", "--noheader", seconds=10) and time.monotonic() < until:
            time.sleep(1)
    for name in ("slurmd", "slurmctld", "slurmdbd", "mariadbd", "munged"):
        file = folder / f"{name}.daemon"
        if file.is_file():
            _end(int(file.read_text()), name)
            file.unlink()


def ask(folder: Path, *words: str, seconds: float = 30) -> str:
    """Return what a program of Slurm prints, without spaces around it; "" if it fails."""
    with suppress(subprocess.TimeoutExpired):
        done = _ask(folder, words, seconds)
        return done.stdout.strip() if done.returncode == 0 else ""
    return ""


def _ask(folder: Path, words: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=seconds)


def _write_config(folder: Path, accounting: bool) -> dict[str, int]:
    ports = _free_ports("controller", "node", "dbd", "database")
    values = {"folder": folder, "host": socket.gethostname().partition(".")[0], "cpus": CPUS, "memory": MEMORY, **ports}
    storage = STORAGE.format(**values) if accounting else "AccountingStorageType=accounting_storage/none"
    (folder / "slurm.conf").write_text(CONFIG.format(**values, accounting=storage))
    if accounting:
        password = secrets.token_hex(16)
        for name, text in {"slurmdbd.conf": DATABASE, "users.sql": USERS}.items():
            (folder / name).touch(0o600)  # Slurm refuses another mode
            (folder / name).write_text(text.format(**values, password=password))
    return ports


def _free_ports(*names: str) -> dict[str, int]:
    with ExitStack() as stack:
        servers = [stack.enter_context(closing(socket.create_server(("127.0.0.1", 0)))) for _ in names]
        return {name: int(server.getsockname()[1]) for name, server in zip(names, servers, strict=True)}


def _start_munge(folder: Path) -> None:
    (folder / "munge.key").touch(0o600)
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    options = [f"--{option}={folder}/munge.{suffix}" for option, suffix in files.items()]
    _start(folder, "munged", "--foreground", "--force", *options)
    _wait(folder, "munged", (folder / "munge.socket").exists)


def _start_accounting(folder: Path, ports: Mapping[str, int]) -> None:
    data = folder / "database"
    install = [str(program("mariadb-install-db")), "--no-defaults", f"--datadir={data}", "--user=root"]
    with (folder / "install.log").open("w") as log:
        if subprocess.run([*install, "--skip-test-db"], stdout=log, stderr=log).returncode:
            raise ClusterError(f"mariadb-install-db failed:\n{_end_of(folder / 'install.log')}")
    options = [f"--datadir={data}", f"--socket={folder}/database.socket", f"--init-file={folder}/users.sql"]
    options += ["--user=root", "--bind-address=127.0.0.1", f"--port={ports['database']}"]
    _start(folder, "mariadbd", "--no-defaults", *options, "--innodb-buffer-pool-size=64M")
    _wait(folder, "mariadbd", lambda: _listens(ports["database"]))
    _start(folder, "slurmdbd", "-D")
    _wait(folder, "slurmdbd", lambda: _listens(ports["dbd"]))
    for words in ("cluster one", "account lab", "user root account=lab"):
        added = _ask(folder, ["sacctmgr", "--immediate", "add", *words.split()], SECONDS)
        if added.returncode:
            raise ClusterError(f"sacctmgr add {words}: {added.stderr}\n{_end_of(folder / 'slurmdbd.log')}")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _start(folder: Path, name: str, *options: str) -> None:
    """Start a daemon whose output is its log. Its number is kept in ``<name>.daemon``."""
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    with (folder / f"{name}.log").open("w") as log:
        daemon = subprocess.Popen(
            [str(program(name)), *options], env=environment, stdin=-3, stdout=log, stderr=log, start_new_session=True
        )
    (folder / f"{name}.daemon").write_text(str(daemon.pid))


def _wait(folder: Path, name: str, answers: Callable[[], bool]) -> None:
    """Wait until a daemon answers.

    Raises:
        ClusterError: if it ends, or does not answer in time.
    """
    until = time.monotonic() + SECONDS
    while not answers():
        if not _runs(int((folder / f"{name}.daemon").read_text())):
            raise ClusterError(f"{name} has ended:\n{_end_of(folder / f'{name}.log')}")
        if time.monotonic() > until:
            state = ask(folder, "scontrol", "show", "node")
            raise ClusterError(f"{name} does not answer:\n{_end_of(folder / f'{name}.log')}\n{state}")
        time.sleep(0.5)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _end(pid: int, name: str) -> None:
    """End a daemon, if the number still belongs to it: first with SIGTERM, after 20 seconds with SIGKILL."""
    for signum, seconds in ((signal.SIGTERM, 20), (signal.SIGKILL, 5)):
        if not _runs(pid) or name[:15] not in Path(f"/proc/{pid}/comm").read_text():
            return
        os.kill(pid, signum)
        until = time.monotonic() + seconds
        while _runs(pid) and time.monotonic() < until:
            time.sleep(0.1)


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


def main() -> None:
    """Start or stop a cluster from the command line."""
    if len(sys.argv) != 3 or sys.argv[1] not in ("start", "stop"):
        sys.exit(__doc__)
    folder = Path(sys.argv[2])
    try:
        (start if sys.argv[1] == "start" else stop)(folder)
    except ClusterError as error:
        sys.exit(str(error))
    if sys.argv[1] == "start":
        print(f"export SLURM_CONF={folder.absolute()}/slurm.conf")


if __name__ == "__main__":
    main()
