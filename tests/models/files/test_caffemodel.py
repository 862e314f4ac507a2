"""Caffe's files are read in both layouts. Damaged, hostile and other files are refused with the offset of the fault."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from secseg.models.files.caffemodel import read_caffemodel
from secseg.utils.errors import UserError
from tests.models import caffemodel as write

RNG = np.random.default_rng(0)
WEIGHT, BIAS = RNG.normal(size=(4, 3, 3, 3)).astype("f4"), RNG.normal(size=4).astype("f4")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.caffemodel"


def read(path: Path, content: bytes) -> dict[str, list[np.ndarray]]:
    path.write_bytes(content)
    return read_caffemodel(path)


def test_the_layout_of_2014_gives_blobs_of_four_axes(path: Path) -> None:
    layers = read(path, write.net({"conv1_1": [WEIGHT, BIAS], "fc8-SEC": [BIAS]}, v1=True))
    assert list(layers) == ["conv1_1", "fc8-SEC"]
    weight, bias = layers["conv1_1"]
    assert np.array_equal(weight, WEIGHT)
    assert bias.shape == (1, 1, 1, 4)
    assert np.array_equal(bias.ravel(), BIAS)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("double", [True, False])
def test_the_new_layout_gives_blobs_of_their_shape_packed_or_not(path: Path, packed: bool, double: bool) -> None:
    blobs = [write.blob(array, packed, double) for array in (WEIGHT, BIAS)]
    weight, bias = read(path, write.layer("conv1_1", blobs))["conv1_1"]
    assert weight.dtype == bias.dtype == (np.float64 if double else np.float32)
    assert np.array_equal(weight, WEIGHT)
    assert np.array_equal(bias, BIAS)


def test_values_in_several_packs_are_joined(path: Path) -> None:
    halves = write.field(5, BIAS[:2].tobytes()) + write.field(5, BIAS[2:].tobytes())
    (blob,) = read(path, write.layer("fc", [halves + write.field(7, write.field(1, 4))]))["fc"]
    assert np.array_equal(blob, BIAS)


@pytest.mark.parametrize("v1", [True, False])
def test_a_truncated_file_is_refused_or_lacks_whole_layers(path: Path, v1: bool) -> None:
    layers = {"a": [BIAS[:3]], "b": [BIAS]}
    content = write.net(layers, v1)
    whole: set[int] = set()
    for end in range(len(content)):
        try:
            left = read(path, content[:end])
        except UserError:
            continue
        whole.add(len(left))  # truncated between two fields of the net, which protobuf cannot detect
        assert all(np.array_equal(left[name][0].ravel(), layers[name][0]) for name in left)
    assert whole == {1, 2}


@pytest.mark.parametrize("length", [2**20, 2**31, 2**40, 2**63, 2**64 - 1])
def test_a_length_beyond_the_file_is_refused_at_once_and_allocates_nothing(path: Path, length: int) -> None:
    hostile = {
        "layer": write.varint(100 << 3 | write.BYTES) + write.varint(length),
        "data": write.layer("a", [write.varint(5 << 3 | write.BYTES) + write.varint(length) + bytes(64)]),
        "skipped": write.varint(77 << 3 | write.BYTES) + write.varint(length),
        "number": b"\xff" * 2**18,
        "shape": write.layer("a", [write.field(5, bytes(64)) + write.field(7, write.field(1, length) * 2)]),
    }
    for content in hostile.values():
        path.write_bytes(content)
        tracemalloc.start()
        started = time.perf_counter()
        with pytest.raises(UserError, match=r"at offset \d+, "):
            read_caffemodel(path)
        assert time.perf_counter() - started < 0.5
        assert tracemalloc.get_traced_memory()[1] < 2**20
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b'name: "VGG"\nlayer {', "not a Caffe model: at offset 0"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "not a Caffe model: at offset 10"),
        (bytes(100), "there is no field 0"),
        (b"\xff" * 40, "a number is too long"),
        (b"\xff" * 4, "a number is truncated"),
        (write.field(1, b"a net"), "no layer with weights"),
        (write.field(100, 7), "field 100 is not a message"),
        (write.layer("a", [write.field(5, bytes(7))]), "the wrong size"),
        (write.layer("a", [write.field(5, bytes(8)) + write.field(7, write.field(1, 3))]), r"\(3,\) has 2 values"),
        (write.layer("a", [write.field(5, b"") + write.field(7, write.field(1, 0))]), r"\(0,\) has 0 values"),
        (write.layer("a", [write.field(5, bytes(4)) + write.field(7, write.field(1, 1) * 33)]), "more than 32 axes"),
        (write.layer("a", [write.blob(BIAS)]) * 2, "two layers are called 'a'"),
    ],
)
def test_a_file_that_is_not_a_caffe_model_is_refused_with_the_reason(path: Path, content: bytes, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read(path, content)


def test_random_bytes_never_end_in_another_error(path: Path) -> None:
    content = np.frombuffer(write.net({"a": [WEIGHT, BIAS], "b": [BIAS]}), "u1")
    for _ in range(300):
        spoilt = content.copy()
        spoilt[RNG.integers(0, len(spoilt), 3)] = RNG.integers(0, 256, 3)
        try:
            read(path, spoilt.tobytes())
        except UserError:
            continue


def test_a_file_that_is_missing_or_a_folder_is_refused_by_path(tmp_path: Path) -> None:
    for missing in (tmp_path / "none.caffemodel", tmp_path):
        with pytest.raises(UserError, match=f"{missing} cannot be read"):
            read_caffemodel(missing)
