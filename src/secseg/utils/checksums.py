"""A checksum in safetensors files, which have none of their own: a flipped bit is told, not used."""

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
    """Return a safetensors file with the CRC-32 of its tensors, their description and its metadata in the metadata.

    Args:
        content: what ``safetensors.numpy.save`` or ``safetensors.torch.save`` made.
    """
    header, start = _header(content)
    metadata = header.setdefault(_METADATA, {})
    metadata[KEY] = _checksum(header, memoryview(content)[start:])
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format's alignment
    return b"".join((len(text).to_bytes(8, "little"), text, memoryview(content)[start:]))  # weights are copied once


def verify(path: Path) -> None:
    """Compare a safetensors file with its checksum. One without is taken as it is: another program made it.

    Raises:
        SafetensorError: where they differ, or the head is damaged.
        OSError: where it cannot be read.
    """
    if not path.stat().st_size:
        raise SafetensorError("it is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            header, start = _header(content)
            told = header.get(_METADATA, {}).pop(KEY, None)
        except (ValueError, AttributeError, RecursionError) as error:
            raise SafetensorError(f"its head is damaged: {error}") from error
        with memoryview(content) as whole, whole[start:] as data:
            differs = told is not None and told != _checksum(header, data)
    if differs:
        raise SafetensorError("its content does not match its checksum")


def _header(content: bytes | mmap.mmap) -> tuple[dict[str, Any], int]:
    start = 8 + int.from_bytes(content[:8], "little")
    if start > len(content):
        raise ValueError("it is cut off")
    header = json.loads(content[8:start])
    if not isinstance(header, dict):
        raise ValueError("it describes no tensors")
    return header, start


def _checksum(header: Mapping[str, Any], data: memoryview) -> str:
    described = {key: value for key, value in header.items() if key != _METADATA}
    metadata = {key: value for key, value in header.get(_METADATA, {}).items() if key != KEY}
    told = json.dumps([described, metadata], sort_keys=True).encode()
    return f"{zlib.crc32(data, zlib.crc32(told)):08x}"
