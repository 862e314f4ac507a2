"""A checksum for safetensors files, whose format has none: a flipped bit is reported instead of read as a value."""

from __future__ import annotations

import json
import mmap
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

KEY = "crc32"
_METADATA = "__metadata__"


def with_checksum(content: bytes) -> bytes:
    """Return a safetensors file with a CRC-32 in its metadata, of the tensors, their description and other metadata.

    Args:
        content: the bytes that ``safetensors.numpy.save`` or ``safetensors.torch.save`` returned.
    """
    header, start = _header(content)
    metadata = header.setdefault(_METADATA, {})
    metadata[KEY] = _checksum(header, memoryview(content)[start:])
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format's alignment
    return b"".join((len(text).to_bytes(8, "little"), text, memoryview(content)[start:]))  # weights are copied once


def verify(path: Path) -> None:
    """Compare a safetensors file with its checksum. A file without one is accepted: another program wrote it.

    Raises:
        SafetensorError: if they differ, or the header is damaged.
        OSError: if the file cannot be read.
    """
    if not path.stat().st_size:
        raise SafetensorError("it is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            header, start = _header(content)
            expected = header.get(_METADATA, {}).pop(KEY, None)
        except (ValueError, AttributeError, RecursionError) as error:
            raise SafetensorError(f"its header is damaged: {error}") from error
        with memoryview(content) as view, view[start:] as data:
            differs = expected is not None and expected != _checksum(header, data)
    if differs:
        raise SafetensorError("its content does not match its checksum")


def _header(content: bytes | mmap.mmap) -> tuple[dict[str, Any], int]:
    start = 8 + int.from_bytes(content[:8], "little")
    if start > len(content):
        raise ValueError("it is truncated")
    header = json.loads(content[8:start])
    if not isinstance(header, dict):
        raise ValueError("it describes no tensors")
    return header, start


def _checksum(header: Mapping[str, Any], data: memoryview) -> str:
    described = {key: value for key, value in header.items() if key != _METADATA}
    metadata = {key: value for key, value in header.get(_METADATA, {}).items() if key != KEY}
    text = json.dumps([described, metadata], sort_keys=True).encode()
    return f"{zlib.crc32(data, zlib.crc32(text)):08x}"
