"""A cluster for all tests, the states of its jobs, and the commands that run on it."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster import slurm
from tests.conftest import REPOSITORY


@dataclass(frozen=True)
class Cluster:
    """A running cluster: the folder of its daemons, and the environment of a command on it."""

    folder: Path
    environment: dict[str, str]

    @property
    def accounting(self) -> bool:
        """Whether ``sacct`` works, from which submitit learns that a job was killed."""
        return (self.folder / "slurmdbd.conf").is_file()

    def ask(self, *words: str) -> str:
        return slurm.ask(self.folder, *words)

    def run(self, *words: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, **variables}
        return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if reason := slurm.missing():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:  # the path of a socket is short
        slurm.start(Path(folder))
        environment = {**os.environ, "SLURM_CONF": f"{folder}/slurm.conf", "PYTHONPATH": str(REPOSITORY / "src")}
        try:
            yield Cluster(Path(folder), environment)
        finally:
            slurm.stop(Path(folder))


def wait_for(happens: Callable[[], object], what: str, seconds: float = 600) -> None:
    """Wait until something happens on the cluster."""
    until = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < until, f"not within {seconds:.0f} seconds: {what}"
        time.sleep(0.5)
