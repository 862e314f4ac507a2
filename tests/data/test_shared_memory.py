"""Little shared memory, as in a container, ends a run with a message; loader processes never wait for it."""

from __future__ import annotations

import errno
import multiprocessing.synchronize
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from secseg.cli.messages import explain
from secseg.data import shared_memory
from secseg.data.samples import gather
from secseg.data.shapes_module import ShapesDataModule
from secseg.data.shared_memory import check_shared_memory
from secseg.utils.errors import UserError
from tests.conftest import REPOSITORY

SAMPLE = {"name": "a", "image": torch.zeros(3, 100, 100, dtype=torch.uint8), "features": [torch.zeros(5000)] * 2}
MEGABYTES = 1e6 * (0.03 + 0.04) * 4 * (2 * 2 + 1)  # 4 images, 2 processes with 2 batches each, and one batch in use
# A loader whose batches do not fit, with a timeout that the caller sets.
LOAD = """
import torch
from torch.utils.data import Dataset
from secseg.cli.messages import explain
from secseg.data.samples import loader

class Large(Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, number):
        return {"image": torch.ones(1_000_000, dtype=torch.uint8)}

if __name__ == "__main__":
    try:
        for batch in loader(Large(), 2, batch_size=4):
            print("a batch came")
    except Exception as error:
        print(explain(error, "train", []))
"""


def with_free(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: float) -> None:
    monkeypatch.setattr(shared_memory, "PLACE", tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=int(free), f_frsize=1))


def test_batches_that_do_not_fit_are_refused_with_both_remedies(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_free(monkeypatch, tmp_path, MEGABYTES - 1)
    with pytest.raises(UserError, match=r"need 1\.40 MB of shared memory .* has 1\.40 MB left") as raised:
        check_shared_memory(lambda: SAMPLE, 4, 2)
    assert "--shm-size=1g" in str(raised.value)
    assert "data.workers=0" in str(raised.value)


def test_batches_that_fit_no_loader_processes_and_other_systems_pass(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_free(monkeypatch, tmp_path, MEGABYTES)
    check_shared_memory(lambda: SAMPLE, 4, 2)
    with_free(monkeypatch, tmp_path, 0)
    check_shared_memory(lambda: SAMPLE, 4, 0)
    monkeypatch.setattr(shared_memory, "PLACE", tmp_path / "no such folder")
    check_shared_memory(lambda: SAMPLE, 4, 2)


def test_a_training_checks_both_loaders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = ShapesDataModule(str(tmp_path / "shapes"), draw_train=1, draw_val=1)
    module.open(cues=True, masks=False)
    module.build_samples(33, (9, 9))
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    module.trainer = SimpleNamespace(  # type: ignore[assignment]
        global_step=0, global_rank=0, world_size=1, max_steps=1, strategy=strategy
    )
    with_free(monkeypatch, tmp_path, 0)
    for make in (module.train_dataloader, module.val_dataloader):
        with pytest.raises(UserError, match="shm-size"):
            make()


def test_loader_processes_stack_tensors_in_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not gather([SAMPLE, SAMPLE])["image"].is_shared()
    monkeypatch.setattr(torch.utils.data._utils.worker, "_worker_info", SimpleNamespace(id=0))
    batch = gather([SAMPLE, SAMPLE])
    assert batch["image"].is_shared()
    assert all(level.is_shared() for level in batch["features"])
    assert batch["image"].shape == (2, 3, 100, 100)


def test_errors_of_full_shared_memory_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("_multiprocessing.SemLock", full)
    with pytest.raises(OSError, match="No space") as raised:
        multiprocessing.Lock()
    killed = RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's")
    late = RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly")
    late.__cause__ = killed
    batch = RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")
    for error in (raised.value, killed, late, batch):
        message = explain(error, "train", [])
        assert message is not None
        assert message.startswith("No shared memory is left")
        assert "--shm-size" in message


@pytest.mark.skipif(sys.platform != "linux", reason="needs mount namespaces")
def test_a_batch_that_does_not_fit_into_a_real_small_shm_ends_at_once(tmp_path: Path) -> None:
    script = tmp_path / "load.py"
    script.write_text(LOAD, "utf-8")
    mount = "mount -t tmpfs -o size=64k tmpfs /dev/shm || exit 77"
    command = ["unshare", "--mount", "sh", "-c", f'{mount}; exec "$@"', "sh", sys.executable, str(script)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=environment)
    if ended.returncode == 77 or ended.stderr.startswith("unshare: "):  # no permission, or a chroot
        pytest.skip(f"may not mount: {ended.stderr.strip()}")
    assert "No shared memory is left" in ended.stdout, ended.stdout + ended.stderr
    assert "a batch came" not in ended.stdout
