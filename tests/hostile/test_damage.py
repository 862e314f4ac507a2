"""For any bytes in a file, its reader accepts the file or reports an error. It never fails in another way."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile.readers import READERS, Reader, accepts

SLOW = {"checkpoint", "model", "localization network", "feature cache"}
"""Readers that build a network or write files."""

readers = pytest.mark.parametrize("reader", READERS, ids=[reader.name for reader in READERS])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@cache
def valid(reader: Reader) -> bytes:
    with TemporaryDirectory() as folder:
        return reader.valid(Path(folder))


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Return valid content with bytes changed, removed, inserted, truncated or appended; or arbitrary bytes."""
    kind = draw(st.sampled_from(["changed", "changed", "changed", "put in", "cut out", "cut off", "added", "any"]))
    at = draw(st.integers(0, len(content) - 1))
    some = draw(st.binary(max_size=40))
    match kind:
        case "changed":
            data = bytearray(content)
            places = st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255))
            for place, value in draw(st.lists(places, min_size=1, max_size=6)):
                data[place] = value
            return bytes(data)
        case "put in":
            return content[:at] + some + content[at:]
        case "cut out":
            return content[:at] + content[at + draw(st.integers(1, 40)) :]
        case "cut off":
            return content[:at]
        case "added":
            return content + some
        case _:
            return draw(st.binary(max_size=300))


@readers
def test_the_valid_file_is_accepted(reader: Reader, folder: Path) -> None:
    assert accepts(reader, folder, valid(reader))


@readers
def test_damaged_files_are_accepted_or_reported(reader: Reader, folder: Path) -> None:
    @settings(
        max_examples=10 if reader.name in SLOW else 60,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(damaged(valid(reader)))
    def check(content: bytes) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow and NumPy, about damage that they accept
            accepts(reader, folder, content)

    check()
