"""Freed memory stays in the process, so that the kernel need not clear its pages anew; unless the user has chosen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from secseg.utils import memory
from tests.conftest import REPOSITORY

BLOCKS = 20
BLOCK = 48 * 2**20  # bytes: above glibc's largest threshold
CODE = f"""
import sys; sys.path.insert(0, {str(REPOSITORY / "src")!r})
from concurrent.futures import ThreadPoolExecutor
from resource import RUSAGE_SELF, getrusage
from secseg.utils.memory import keep_freed_memory
print(keep_freed_memory() if sys.argv[1] == "keep" else False)
import torch
def faults():
    before = getrusage(RUSAGE_SELF).ru_minflt
    for _ in range({BLOCKS}):
        torch.ones({BLOCK}, dtype=torch.uint8)
    return getrusage(RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
with ThreadPoolExecutor(1) as pool:
    print(pool.submit(lambda: (faults(), faults())[1]).result())
"""


def run(folder: Path, mode: str, **environment: str) -> tuple[bool, int, int]:
    """Return what ``keep_freed_memory`` said, and page faults of the same allocations in the main and in a further
    thread, the second time round."""
    clean = {key: value for key, value in os.environ.items() if not memory._is_choice(key)}
    command = [sys.executable, "-c", CODE, mode]
    result = subprocess.run(
        command, cwd=folder, env={**clean, **environment}, capture_output=True, text=True, check=True
    )
    said, main, thread = result.stdout.split()
    return said == "True", int(main), int(thread)


@pytest.mark.skipif(not memory._is_glibc(), reason="the C library is not glibc")
def test_pages_of_freed_memory_are_not_faulted_in_again_in_any_thread(tmp_path: Path) -> None:
    kept, *faults = run(tmp_path, "keep")
    assert kept
    assert max(faults) < 5 * BLOCKS
    kept, *faults = run(tmp_path, "leave")
    assert not kept
    assert min(faults) > 20 * BLOCKS  # 12,288 a block, or 24 where pages are huge


@pytest.mark.parametrize("variable", ["MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD"])
def test_what_the_user_chose_for_the_allocator_stays(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: pytest.fail("changed the allocator"))
    monkeypatch.setenv(variable, "1")
    assert not memory.keep_freed_memory()


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: pytest.fail("changed the allocator"))
    monkeypatch.setattr(memory.os, "confstr", lambda name: None)
    assert not memory.keep_freed_memory()
