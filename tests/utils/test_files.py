"""Folders that commands write into: one process at a time, and no unfinished file remains."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from pathlib import Path

import pytest

from secseg.utils.errors import UserError
from secseg.utils.files import read_hashed, sha256, working_in


def half_written(folder: Path) -> Path:
    path = folder / "checkpoints" / ".last.abcd1234.ckpt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_a_second_process_is_refused_with_the_id_of_the_first(tmp_path: Path) -> None:
    with (
        working_in(tmp_path),
        pytest.raises(UserError, match=rf"Another process \({os.getpid()}\) writes into"),
        working_in(tmp_path),
    ):
        pass
    with working_in(tmp_path):
        pass


def test_unfinished_files_of_a_killed_process_are_removed_and_files_of_the_user_are_not(tmp_path: Path) -> None:
    left = half_written(tmp_path)
    mine = [tmp_path / ".notes.txt", tmp_path / "checkpoints" / ".cache.ckpt", tmp_path / "a.abcd1234.ckpt"]
    for path in mine:
        path.touch()
    with working_in(tmp_path):
        assert not left.exists()
    assert all(path.exists() for path in mine)


def test_a_file_system_without_locks_gives_a_warning_and_no_file_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    left = half_written(tmp_path)
    with caplog.at_level(logging.WARNING), working_in(tmp_path):
        assert left.exists(), "another process may be writing it"
    assert "cannot be locked (Function not implemented)" in caplog.text


def test_the_hash_is_that_of_the_content_that_was_read(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(b"old")
    assert read_hashed(path, Path.read_bytes) == (b"old", sha256(path))


@pytest.mark.parametrize("in_place", [False, True])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, in_place: bool) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(b"old")

    def read(file: Path) -> bytes:
        content = file.read_bytes()
        new = file if in_place else tmp_path / "new.ckpt"
        new.write_bytes(b"longer" if in_place else b"new")
        new.replace(file)
        return content

    with pytest.raises(UserError, match=r"last\.ckpt was replaced or written while it was read"):
        read_hashed(path, read)
