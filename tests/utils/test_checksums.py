"""A change anywhere in a safetensors file of ours is reported. Files of other programs need no checksum."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from secseg.utils.checksums import KEY, verify, with_checksum
from secseg.utils.errors import UserError
from secseg.utils.torch_file import read_saved

TENSORS = {"maps": np.arange(12, dtype=np.uint8).reshape(3, 4), "scores": np.ones(3, np.float32)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.safetensors"
    path.write_bytes(with_checksum(save(TENSORS, {"names": "a, b"})))
    return path


def test_the_file_is_read_as_before(file: Path) -> None:
    verify(file)
    for name, array in load_file(file).items():
        np.testing.assert_array_equal(array, TENSORS[name])


def test_a_flipped_bit_anywhere_but_in_the_name_of_the_checksum_is_reported(file: Path) -> None:
    content = file.read_bytes()
    name = content.index(KEY.encode())
    missed = []
    for at in set(range(len(content))) - set(range(name, name + len(KEY))):
        for bit in range(8):
            changed = bytearray(content)
            changed[at] ^= 1 << bit
            file.write_bytes(changed)
            try:
                verify(file)
                read = load_file(file)
            except SafetensorError:
                continue
            if not all(np.array_equal(read[key], array) for key, array in TENSORS.items()):
                missed.append((at, bit))
    assert not missed


@pytest.mark.parametrize("length", [0, 4, 8, 20, -1])
def test_a_truncated_file_is_reported(file: Path, length: int) -> None:
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(SafetensorError):
        verify(file)


def test_a_file_of_another_program_without_checksum_is_accepted(file: Path) -> None:
    file.write_bytes(save(TENSORS))
    verify(file)


def test_equal_tensors_make_equal_bytes() -> None:
    assert with_checksum(save({"a": TENSORS["maps"]})) == with_checksum(save({"a": TENSORS["maps"].copy()}))


def test_a_flipped_bit_in_a_checkpoint_is_reported_although_torch_does_not_see_it(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"weight": torch.zeros(1000)}, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert torch.load(path)["weight"].any(), "torch reads other weights"
    with pytest.raises(UserError, match="does not match its checksum"):
        read_saved(path)
