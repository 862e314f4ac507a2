"""Read the records of a W&B run file (``.wandb``): a header of seven bytes, then LevelDB's log format."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

BLOCK = 32768
FILE_HEADER = 7
PART = struct.Struct("<IHB")  # checksum, length, kind
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
PATIENCE = 20.0  # seconds


@dataclass
class WandbRun:
    """The content of a run file. A value with parts, such as ``val/miou`` with ``max`` and ``last``, is a dict."""

    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None


def read_wandb_run(path: Path) -> WandbRun:
    """Return the content of the run file ``path`` of a finished run.

    W&B's own process may write on for a moment after ``finish`` has returned: the record of the end is waited for.
    """
    until = time.monotonic() + PATIENCE
    while (found := _read(path)).exit_code is None and time.monotonic() < until:
        time.sleep(0.1)
    return found


def _read(path: Path) -> WandbRun:
    found = WandbRun()
    for record in _records(path.read_bytes()):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found.run = record.run
            found.config |= _values(record.run.config.update)
        elif kind == "config":
            found.config |= _values(record.config.update)
        elif kind == "history":
            found.history.append(_values(record.history.item))
        elif kind == "summary":
            found.summary |= _values(record.summary.update)
        elif kind == "exit":
            found.exit_code = record.exit.exit_code
    return found


def _values(items: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in items:
        *outer, last = item.nested_key or [item.key]
        inside = found
        for key in outer:
            inside = inside.setdefault(key, {})
        inside[last] = json.loads(item.value_json)
    return found


def _records(data: bytes) -> Iterator[Record]:
    at, parts = FILE_HEADER, b""
    while at + PART.size <= len(data):
        if BLOCK - at % BLOCK < PART.size:  # the rest of a block is too small for a header
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = PART.unpack_from(data, at)
        at += PART.size
        parts = data[at : at + length] if kind in (FULL, FIRST) else parts + data[at : at + length]
        at += length
        if kind in (FULL, LAST):
            yield Record.FromString(parts)
