"""Test the verdicts of the fault injection with small commands that have known faults."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from secseg.utils.errors import UserError
from secseg.utils.files import remove_leftovers, write_text
from tests.faults.campaign import CLEAR, LOST, OTHER, SURVIVED, WRONG, Campaign
from tests.faults.damage import WAYS, damage
from tests.faults.jobs import Job


def copy() -> None:
    """A correct command: it checks its input, and writes whole files."""
    text = Path("in.txt").read_bytes()
    if text != b"content":
        print("in.txt is damaged.", file=sys.stderr)
        raise SystemExit(1)
    time.sleep(0.05)
    remove_leftovers(Path("out"), {".txt"})
    try:
        write_text("out/copy.txt", text.decode())
    except UserError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None


def trust() -> None:
    write_text("out/copy.txt", Path("in.txt").read_bytes().decode("latin-1"))


def crash() -> None:
    assert Path("in.txt").read_bytes() == b"content"
    write_text("out/copy.txt", "content")


def append() -> None:
    Path("out").mkdir(exist_ok=True)
    with open("out/copy.txt", "a") as file:
        file.write("content")
        file.flush()
        time.sleep(0.3)


def refuse() -> None:
    Path("out").mkdir(exist_ok=True)
    if list(Path("out").iterdir()):
        print("out is not empty.", file=sys.stderr)
        raise SystemExit(1)
    Path("out/begun").touch()
    time.sleep(0.3)
    write_text("out/copy.txt", "content")


@pytest.fixture
def campaign(tmp_path: Path) -> Callable[..., tuple[Campaign, Job]]:
    def start(main: Callable[[], None], taken: bool = False) -> tuple[Campaign, Job]:
        files = {"takes" if taken else "reads": ("in.txt",)}
        job = Job("job", main, (), ("out",), **{"reads": (), **files})
        made = Campaign(tmp_path / "world", tmp_path / "kept", random.Random(0))
        made.world.mkdir()
        (made.world / "in.txt").write_text("content")
        made.add(job)
        return made, job

    return start


@pytest.mark.parametrize(("main", "verdict"), [(copy, SURVIVED), (append, WRONG), (refuse, LOST)])
def test_a_kill_is_survived_only_if_the_same_command_leaves_the_same_files(
    main: Callable[[], None], verdict: str, campaign: Callable[..., tuple[Campaign, Job]]
) -> None:
    made, job = campaign(main)
    made.seconds["job"] = 0.3  # within the moment after the first byte
    assert verdict in {made.kill(job).verdict for _ in range(5)}
    if verdict == SURVIVED:
        assert {made.kill(job).verdict for _ in range(5)} == {SURVIVED}


@pytest.mark.parametrize(
    ("main", "taken", "verdict"),
    [(copy, False, CLEAR), (crash, False, LOST), (trust, False, WRONG), (trust, True, OTHER)],
)
def test_damage_that_is_reported_crashes_or_is_read_as_content_has_its_own_verdict(
    main: Callable[[], None], taken: bool, verdict: str, campaign: Callable[..., tuple[Campaign, Job]]
) -> None:
    made, job = campaign(main, taken)
    assert {made.damage(job).verdict for _ in range(5)} <= {verdict, SURVIVED}
    assert verdict in {made.damage(job).verdict for _ in range(5)}


def test_a_partly_written_file_is_detected(campaign: Callable[..., tuple[Campaign, Job]]) -> None:
    made, job = campaign(copy)
    (made.world / "out" / ".copy.abcd1234.txt").touch()
    assert job.outcome(made.world) != made.usual["job"]


def test_every_way_of_damage_changes_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    seen = set()
    for seed in range(100):
        file.write_bytes(bytes(range(1, 200)))
        seen.add(damage(file, random.Random(seed)))
    assert {way.__name__ for way in WAYS} <= seen
