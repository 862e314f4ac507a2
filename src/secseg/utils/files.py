"""Files that are written completely or not at all, locks of folders, JSON and CSV, the cache folder, hashes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, TypeVar

from secseg.utils.errors import UserError, nearest
from secseg.utils.text import size_text

log = logging.getLogger(__name__)

Content = TypeVar("Content")

# Read once: it belongs to the whole process, and two threads that read it would leave it at 0.
_UMASK = os.umask(0)
os.umask(_UMASK)

#: Files of a run folder: results, settings, why a job of a sweep failed or was pruned, the command, the options of the
#: groups.
RESULTS, CONFIG, FAILURE, COMMAND = "results.json", "config.yaml", "failure.json", "command.txt"
PRUNED, OPTIONS = "pruned.json", "options.yaml"
#: The lock of a command that writes into a folder, and the suffixes of what commands write there.
WORKING = ".working"
WRITTEN = frozenset({".ckpt", ".csv", ".html", ".json", ".md", ".npz", ".png", ".safetensors", ".txt", ".yaml", ".zip"})
#: The end of the folder name of a sweep's job: the fingerprint of its settings.
JOB = re.compile(r"-[0-9a-f]{8}$")


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``. On success it is synced and renamed to ``path``, else removed.

    Raises:
        UserError: if the folder cannot be written or the disk is full.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
        os.close(handle)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}. Choose a writable folder.") from error
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("r+b") as file:  # Windows syncs only files that are open for writing
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_UMASK)  # mkstemp makes files that only their owner can read
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"Cannot write {path}: {error.strerror or error}. Free some space or choose another folder."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text in UTF-8, completely or not at all. Bytes of file names that are not UTF-8 become ``\\udc..``.

    Raises:
        UserError: as ``atomic_write``.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


@contextmanager
def locked(folder: Path, name: str) -> Iterator[bool]:
    """Make ``folder`` and hold its lock, a file ``name`` in it. The system releases the lock when the process ends.

    Yields:
        Whether the lock is held. Some file systems of clusters do not support locks: this is logged as a warning.

    Raises:
        UserError: if another process holds the lock, or the folder is not writable.
    """
    from filelock import lock_descriptor  # slow to import, and not needed for help

    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / name, "a+", encoding="utf-8")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise UserError(f"Cannot write into {folder}: {error.strerror}. Choose another folder.") from error
    with file:
        try:
            free = lock_descriptor(file.fileno(), blocking=False)
        except OSError as error:
            log.warning("%s cannot be locked (%s). Make sure no other process writes there.", folder, error.strerror)
            yield False
            return
        if not free:
            raise UserError(
                f"Another process ({_holder(file)}) writes into {folder}. Wait until it ends, or choose another folder."
            )
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield True


def _holder(file: IO[str]) -> str:
    """Return the id of the process that holds the lock of ``file``. Windows refuses to read a locked file."""
    try:
        file.seek(0)
        return file.read().strip() or "unknown"
    except OSError:
        return "unknown"


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Lock a folder that a command writes into, and remove unfinished files that a killed command left there.

    Raises:
        UserError: as ``locked``.
    """
    with locked(folder, WORKING) as held:
        if held:
            for place in (folder, *(path for path in folder.iterdir() if path.is_dir())):
                remove_leftovers(place, WRITTEN)
        yield


def existing(path: Path) -> Path:
    """Return the path, or else the nearest folder above it that exists."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())


def check_space(what: str, needed: int, folder: Path, advice: str, seconds: float, reserved: int = 0) -> None:
    """Log how much space and time files that are about to be written take, and how much space is free.

    Args:
        what: the files, for messages: ``The maps of 900 images``.
        needed: their bytes.
        folder: where they are written; it may not exist yet.
        advice: what to do if the space is too small: ``Choose another folder with out=``.
        seconds: the estimated time.
        reserved: bytes of other files that are going to be written to the same disk.

    Raises:
        UserError: if all of them need more than 95 % of the free space.
    """
    free = shutil.disk_usage(existing(folder)).free
    space = size_text(needed)
    if needed + reserved > 0.95 * free:
        others = f", and {size_text(reserved)} of features go to the same disk" if reserved else ""
        raise UserError(f"{what} take {space} in {folder}, which has {size_text(free)} of free space{others}. {advice}")
    log.info(
        "%s take about %s and %s in %s (%s of free space).",
        *(what, timedelta(seconds=max(1, round(seconds))), space, folder, size_text(free)),
    )


def remove_leftovers(folder: Path, suffixes: Collection[str]) -> None:
    """Remove the temporary files of killed ``atomic_write``s, with these suffixes, from ``folder``.

    Call it only while no other process writes there: the unfinished files of that process look the same.
    """
    for path in folder.glob(".*"):
        if path.suffix in suffixes and re.fullmatch(r"\..+\.[a-z0-9_]{8}", path.stem):
            path.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        OSError, ValueError: if the file cannot be read or is not JSON, if it is nested too deeply, or if it holds half
            a character (``\\ud800``), which no text file can hold.
    """
    try:
        value = json.loads(path.read_text("utf-8"))
        json.dumps(value, ensure_ascii=False).encode()
        return value
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def user_cache() -> Path:
    """Return the folder for files that can be computed again: ``$SECSEG_CACHE``, else ``secseg`` in the XDG cache.

    If the user has no home folder, as in some containers, this is a folder that cannot be written.
    """
    if "SECSEG_CACHE" in os.environ:
        return Path(os.environ["SECSEG_CACHE"]).expanduser()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "secseg"
    except RuntimeError:  # of expanduser
        return Path(os.devnull, "home", ".cache", "secseg")


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_hashed(path: Path, read: Callable[[Path], Content]) -> tuple[Content, str]:
    """Return what ``read(path)`` returns, and the SHA-256 of the file that was read.

    Raises:
        UserError: if the file was replaced or written in between, as by a training; whatever ``read`` raises.
    """
    before = _identity(path)
    content = read(path)
    digest = sha256(path)
    if _identity(path) != before:
        raise UserError(
            f"{path} was replaced or written while it was read. Give the same command again; during a training, a "
            "copy of the file does not change."
        )
    return content, digest


def _identity(path: Path) -> tuple[int, int, int, int] | None:
    """Return what differs for another file or another version of it; None if there is no file."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def neighbours(path: Path) -> str:
    """Return a hint about a missing file: the nearest name in its folder, or that the folder does not exist."""
    if not path.parent.is_dir():
        return f" The folder {path.parent} does not exist."
    return nearest(path.name, [p.name for p in path.parent.iterdir()])
