"""The folder of the masks: one writer, one protocol; files of an interrupted run are kept or removed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from secseg.inference.mask_folder import LOCK, RECORD, MaskFolder
from secseg.inference.sources import InputImage
from secseg.utils.errors import UserError
from secseg.utils.files import atomic_write
from tests.conftest import REPOSITORY

SETTINGS = {"checkpoint": "c0ffee", "inference": {"scales": [1.0], "mirror": False}, "crf": None}
ITEMS = [InputImage(name, Path(f"{name}.jpg")) for name in ("a", "b", "sub/c")]


def todo(folder: MaskFolder, settings: dict[str, Any] = SETTINGS, overwrite: bool = False) -> list[str]:
    with folder.opened(settings, ITEMS, overwrite) as items:
        return [item.name for item in items]


def make(file: Path) -> None:
    with atomic_write(file) as temporary:
        temporary.write_bytes(b"mask")


def test_an_existing_mask_is_done_if_the_settings_are_the_same(tmp_path: Path) -> None:
    folder = MaskFolder(tmp_path / "masks")
    assert todo(folder) == ["a", "b", "sub/c"]
    make(folder.mask("a"))
    make(folder.mask("sub/c"))
    assert todo(folder) == ["b"]


def test_other_settings_are_refused_with_what_differs(tmp_path: Path) -> None:
    folder = MaskFolder(tmp_path)
    todo(folder)
    other = {**SETTINGS, "inference": {"scales": [1.0, 1.5], "mirror": False}, "crf": {"backend": "lattice"}}
    with pytest.raises(UserError) as raised:
        todo(folder, other)
    assert "inference.scales: [1.0] -> [1.0, 1.5]" in str(raised.value)
    assert "crf.backend: None -> 'lattice'" in str(raised.value)
    assert "mirror" not in str(raised.value)
    assert "overwrite=true" in str(raised.value)


def test_masks_of_unknown_origin_are_neither_kept_nor_replaced(tmp_path: Path) -> None:
    folder = MaskFolder(tmp_path)
    folder.mask("a").write_bytes(b"drawn by hand")
    with pytest.raises(UserError, match=r"holds 1 mask .* no predict\.json .*\n.*a\.png"):
        todo(folder)
    assert not (tmp_path / RECORD).exists()
    (tmp_path / RECORD).write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        todo(folder)
    assert todo(folder, overwrite=True) == ["a", "b", "sub/c"]


def test_an_interrupted_overwriting_run_continues_with_the_old_masks(tmp_path: Path) -> None:
    folder = MaskFolder(tmp_path)
    todo(folder)
    for item in ITEMS:
        make(folder.mask(item.name))
        os.utime(folder.mask(item.name), (1, 1))
    assert todo(folder) == []
    other = {**SETTINGS, "checkpoint": "facade"}
    assert todo(folder, other, overwrite=True) == ["a", "b", "sub/c"]
    assert all(folder.mask(item.name).exists() for item in ITEMS), "each is there until its new one is"
    make(folder.mask("b"))
    os.utime(folder.mask("b"), ns=(0, (tmp_path / RECORD).stat().st_mtime_ns + 1))
    assert todo(folder, other) == ["a", "sub/c"]


def test_overlays_and_probabilities_must_exist_too(tmp_path: Path) -> None:
    todo(MaskFolder(tmp_path))
    for item in ITEMS:
        make(MaskFolder(tmp_path).mask(item.name))
    both = MaskFolder(tmp_path, overlays=True, probabilities=True)
    make(both.overlay("a"))
    make(both.probs("a"))
    make(both.overlay("b"))
    assert todo(both) == ["b", "sub/c"]


def test_leftovers_of_killed_writes_are_removed_and_nothing_else(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from secseg.utils.files import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    for name in ("a.png", "sub/c.png", "overlays/b.jpg", "probabilities/b.npz", RECORD):
        subprocess.run([sys.executable, "-c", code, tmp_path / name], cwd=REPOSITORY / "src", check=False)
    left = [path for path in tmp_path.rglob(".*") if path.is_file()]
    assert len(left) == 5, "each killed write leaves its temporary file"
    others = [tmp_path / name for name in (".a.png", "a.12345678.png", ".profile.12345678.txt")]
    for other in others:
        other.touch()
    todo(MaskFolder(tmp_path, overlays=True, probabilities=True))
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in others)


def test_a_second_writer_is_refused_and_the_lock_of_a_dead_one_does_not_count(tmp_path: Path) -> None:
    folder = MaskFolder(tmp_path)
    with folder.opened(SETTINGS, ITEMS, False):
        with pytest.raises(UserError, match=rf"Another process \({os.getpid()}\) writes into"):
            todo(folder)
        with pytest.raises(UserError, match="Another process"):
            todo(folder, overwrite=True)
    assert (tmp_path / LOCK).exists()
    assert todo(folder) == ["a", "b", "sub/c"]


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"Cannot write into .*another folder"):
        todo(MaskFolder(tmp_path / "file" / "masks"))
