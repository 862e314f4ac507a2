"""Inject a fault into a command, run it again if possible, and compare its files with those of a normal run."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.damage import damage
from tests.faults.forked import Ended, run
from tests.faults.jobs import JOBS, Job, draw_world

SURVIVED, CLEAR, OTHER, LOST, WRONG = "survived", "clear error", "other content", "lost", "wrong"
VERDICTS = (SURVIVED, CLEAR, OTHER, LOST, WRONG)
MOST_KILLS = 3  # of one command, before it may finish


@dataclass(frozen=True)
class Try:
    """One fault and its verdict.

    - survived: the files of the command are the same as without the fault.
    - clear error: the command reported the problem and exited with code 1, or reported the damaged file and continued
      without it.
    - other content: the damage changed a user file without a checksum into another valid file, which no reader can
      detect.
    - lost: the command crashed, hung, or cannot be continued.
    - wrong: the command exited with code 0, but its files differ.
    """

    fault: str
    job: str
    verdict: str
    what: str


@dataclass
class Campaign:
    """The state before each command, and the files of each command without a fault.

    Attributes:
        world: the folder that commands run in.
        kept: copies of ``world`` from before each command, in a folder with the name of the command.
        rng: draws the faults.
        usual: by command, a hash of each file that the command writes without a fault.
        seconds: duration of each command.
    """

    world: Path
    kept: Path
    rng: random.Random
    usual: dict[str, dict[str, str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def prepare(cls, folder: Path, rng: random.Random) -> Campaign:
        """Run all commands once, in order, in a new world in ``folder``."""
        made = cls(folder / "world", folder / "kept", rng)
        made.world.mkdir(parents=True)
        draw_world(made.world)
        warm_up(folder / "warm")
        for job in JOBS:
            made.add(job)
        return made

    def add(self, job: Job) -> None:
        """Copy the world, run the command, and record the hashes of its files."""
        shutil.copytree(self.world, self.kept / job.name)
        ended = run(job, self.world)
        if ended.code:
            raise RuntimeError(f"{job.name} fails without a fault:\n{ended.output}")
        self.usual[job.name], self.seconds[job.name] = job.outcome(self.world), ended.seconds

    def kill(self, job: Job) -> Try:
        """Kill the command at random moments, up to ``MOST_KILLS`` times, then let it finish."""
        self._restore(self.kept / job.name)
        moments = []
        for _ in range(self.rng.randint(1, MOST_KILLS)):
            moments.append(self.rng.uniform(0, self.seconds[job.name]))
            if run(job, self.world, moments[-1]).code >= 0:
                break  # it finished before the kill
        what = "killed after " + ", ".join(f"{moment:.2f} s" for moment in moments)
        return self._judge("kill", job, run(job, self.world), what)

    def damage(self, job: Job) -> Try:
        """Damage a file that the command reads. The training is interrupted before."""
        self._restore(self.kept / job.name)
        if job.resumes:
            run(job, self.world, self.rng.uniform(0.3, 0.9) * self.seconds[job.name])
        files = [path for pattern in (*job.reads, *job.takes) for path in self.world.glob(pattern) if path.is_file()]
        file = self.rng.choice([path for path in files if path.stat().st_size])
        unknowable = any(file in self.world.glob(pattern) for pattern in job.takes)
        way = damage(file, self.rng)
        ended, what = run(job, self.world), f"{way} in {file.relative_to(self.world)}"
        if ended.code == 0 and f"{file.name} is damaged" in ended.output:
            return Try("damage", job.name, CLEAR, what)
        return self._judge("damage", job, ended, what, unknowable)

    def fill_disk(self, job: Job) -> Try:
        """Run the command on a disk that becomes full, then enlarge the disk and run the command again."""
        self._restore(self.kept / job.name)
        used = sum(path.stat().st_size for path in self.world.rglob("*") if path.is_file())
        free = self.rng.randint(0, 600_000)
        with_disk(self.world, used + 4096 * 64 + free)
        try:
            first = run(job, self.world)
            what = f"{free // 1000} kB free"
            if first.code and not first.clear:
                return Try("full disk", job.name, LOST, f"{what}:\n{first.output}")
            subprocess.run(["mount", "-o", "remount,size=1g", str(self.world)], check=True)
            return self._judge("full disk", job, run(job, self.world), what)
        finally:
            subprocess.run(["umount", str(self.world)], check=True)

    def _restore(self, state: Path) -> None:
        shutil.rmtree(self.world, ignore_errors=True)
        shutil.copytree(state, self.world)

    def _judge(self, fault: str, job: Job, ended: Ended, what: str, unknowable: bool = False) -> Try:
        if ended.code == 0:
            left = job.outcome(self.world)
            usual = self.usual[job.name]
            if left == usual:
                return Try(fault, job.name, SURVIVED, what)
            differ = sorted(path for path in left.keys() | usual.keys() if left.get(path) != usual.get(path))
            return Try(fault, job.name, OTHER if unknowable else WRONG, f"{what}; differ: {', '.join(differ)}")
        if ended.clear:
            # Unless a file was damaged, the same command must be able to continue.
            return Try(fault, job.name, CLEAR if fault == "damage" else LOST, f"{what}:\n{ended.output}")
        return Try(fault, job.name, LOST, f"{what}; code {ended.code}:\n{ended.output}")


def warm_up(folder: Path) -> None:
    """Run each command in this process, so that everything is imported and compiled before a fork."""
    here = Path.cwd()
    folder.mkdir()
    draw_world(folder)
    os.chdir(folder)
    os.environ["SECSEG_CACHE"] = str(folder / "cache")
    for job in JOBS:
        sys.argv = [f"{job.name}.py", *job.words]
        job.main()
    os.chdir(here)


def with_disk(folder: Path, size: int) -> None:
    """Move ``folder`` to a file system in memory with ``size`` bytes."""
    moved = folder.with_name("moved")
    folder.rename(moved)
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    shutil.copytree(moved, folder, dirs_exist_ok=True)
    shutil.rmtree(moved)


FAULTS: dict[str, Callable[[Campaign, Job], Try]] = {
    "kill": Campaign.kill,
    "damage": Campaign.damage,
    "full disk": Campaign.fill_disk,
}
