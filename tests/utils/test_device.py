"""``auto`` is the precision that a device is fast at; freed memory stays in the process, unless the user has chosen."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from secseg.utils import device
from secseg.utils.device import multiplies_in_bfloat16, peak_memory, pick_device, resolve_precision
from secseg.utils.errors import UserError
from tests.conftest import REPOSITORY

BLOCKS = 20
BLOCK = 48 * 2**20  # bytes: above glibc's largest threshold
CODE = f"""
import sys; sys.path.insert(0, {str(REPOSITORY / "src")!r})
from concurrent.futures import ThreadPoolExecutor
from resource import RUSAGE_SELF, getrusage
from secseg.utils.device import keep_freed_memory
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
    """Return the result of ``keep_freed_memory``, and page faults of the same allocations in the main and in another
    thread, the second time."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(device.ALLOCATION)}
    command = [sys.executable, "-c", CODE, mode]
    result = subprocess.run(
        command, cwd=folder, env={**clean, **environment}, capture_output=True, text=True, check=True
    )
    kept, main, thread = result.stdout.split()
    return kept == "True", int(main), int(thread)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_pages_of_freed_memory_are_not_faulted_in_again_in_any_thread(tmp_path: Path) -> None:
    kept, *faults = run(tmp_path, "keep")
    assert kept
    assert max(faults) < 5 * BLOCKS
    kept, *faults = run(tmp_path, "leave")
    assert not kept
    assert min(faults) > 20 * BLOCKS  # 12,288 a block, or 24 where pages are huge


@pytest.mark.parametrize("variable", ["MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD"])
def test_an_allocator_that_the_user_chose_stays(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.ctypes, "CDLL", lambda name: pytest.fail("changed the allocator"))
    monkeypatch.setenv(variable, "1")
    assert not device.keep_freed_memory()


def test_another_c_library_is_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.ctypes, "CDLL", lambda name: pytest.fail("changed the allocator"))
    monkeypatch.setattr(device.platform, "libc_ver", lambda: ("musl", "1.2"))
    assert not device.keep_freed_memory()


@pytest.mark.parametrize("has_it", [True, False])
@pytest.mark.parametrize("accelerator", ["auto", "cpu", "gpu", "cuda"])
def test_auto_is_bfloat16_if_the_device_has_it(accelerator: str, has_it: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    on_gpu = accelerator != "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: on_gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: on_gpu and has_it)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: not on_gpu and has_it)
    assert resolve_precision("auto", accelerator) == ("bf16-mixed" if has_it else "32-true")


def test_a_precision_that_is_named_is_used() -> None:
    for precision in ("32-true", "bf16-mixed", "16-mixed"):
        assert resolve_precision(precision, "cpu") == precision


def test_this_cpu_and_a_mac_are_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    assert multiplies_in_bfloat16("cpu") in (True, False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert not multiplies_in_bfloat16("mps")
    assert not multiplies_in_bfloat16("auto")


def test_a_missing_device_is_reported() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else pick_device("auto").type)
    with pytest.raises(UserError, match=r"device=cuda:99: this machine has auto, cpu"):
        pick_device("cuda:99")


def test_peak_memory_is_measured_on_linux_and_as_psutil_does_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 2**24 < (peak_memory() or 0) < 2**40
    monkeypatch.setitem(sys.modules, "resource", None)
    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=1, peak_wset=2))
    monkeypatch.setitem(sys.modules, "psutil", SimpleNamespace(Process=lambda: process))
    assert peak_memory() == 2
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert peak_memory() is None
