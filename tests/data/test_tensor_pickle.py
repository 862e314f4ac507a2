"""Tensors of torch in pickles are read as torch reads them, without torch; hostile ones are refused."""

from __future__ import annotations

import io
import pickle
import re
from typing import Any

import numpy as np
import pytest
import torch

from secseg.data.array_pickle import load_arrays, load_object
from secseg.data.tensor_pickle import STORAGES, TENSOR_NAMES, load_storage, rebuild_tensor
from secseg.utils.errors import UserError

TYPES = re.compile(r"O8?|[iu][1248]|f[248]|b1")


def load(data: bytes) -> Any:
    return load_arrays(data, TYPES, "maps", scalars=True, names=TENSOR_NAMES)


TENSORS = {
    "float": torch.rand(2, 3, 4),
    "half": torch.rand(3, 3).half(),
    "double": torch.rand(3).double(),
    "classes": torch.tensor([3, 7]),
    "int32": torch.arange(4, dtype=torch.int32).reshape(2, 2),
    "bytes": torch.arange(5, dtype=torch.uint8),
    "bool": torch.tensor([True, False]),
    "transposed": torch.rand(3, 4).T,
    "part": torch.rand(5, 6)[1:4, ::2],
    "expanded": torch.rand(4, 1).expand(4, 1),
    "scalar": torch.tensor(2.5),
    "no maps": torch.zeros(0, 3, 4),
    "with gradient": torch.rand(2, requires_grad=True),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_is_read_as_torch_reads_it(name: str, protocol: int) -> None:
    expected = TENSORS[name].detach().numpy()
    found = load(pickle.dumps({"cam": TENSORS[name]}, protocol=protocol))["cam"].value
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("module", ["numpy.core", "numpy._core"])
@pytest.mark.parametrize("array", [np.random.default_rng(0).random((3, 4)).astype(np.float32), np.eye(4)[:, :2].T])
def test_an_array_of_each_protocol_and_release_of_numpy_is_read(
    array: np.ndarray, module: str, protocol: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "numpy._core" if module == "numpy.core" else "numpy.core"
    data = pickle.dumps({3: array}, protocol=protocol)
    if protocol < 4:  # names end with a line break, so that another length does not matter
        data = data.replace(f"c{other}.".encode(), f"c{module}.".encode())
    np.testing.assert_array_equal(load(data)[3].value, array)


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_every_type_of_storage_has_the_type_of_torch() -> None:
    for name, code in STORAGES.items():
        assert torch.zeros(1).to(torch.from_numpy(np.zeros(1, code)).dtype).storage().pickle_storage_type() == name


def storage(tensor: torch.Tensor, old: bytes = b"", new: bytes = b"") -> bytes:
    file = io.BytesIO()
    torch.save(tensor.storage(), file, _use_new_zipfile_serialization=False)
    assert not old or old in file.getvalue()
    return file.getvalue().replace(old, new) if old else file.getvalue()


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"ctorch\nFloatStorage", b"cposix\nsystem", "asks for posix.system in a tensor"),
        (b"K\x06Nt", b"K\x07Nt", "with 6 numbers instead of 7"),
        (b"K\x06Nt", b"J\xff\xff\xff\x7fNt", "with 6 numbers instead of 2147483647"),
        (b"K\x06Nt", b"K\x06(tt", ""),
        (b"X\x07\x00\x00\x00storage", b"X\x07\x00\x00\x00storagf", "storage cannot be read"),
        (b"M\xe9\x03.", b"M\xe8\x03.", "torch.save did not write"),
    ],
)
def test_a_hostile_storage_is_refused(old: bytes, new: bytes, said: str) -> None:
    valid = storage(torch.rand(6))
    assert len(load_storage(valid)) == 6
    if not said:
        assert len(load_storage(storage(torch.rand(6), old, new))) == 6  # an empty view
        return
    with pytest.raises(UserError, match=re.escape(said)):
        load_storage(storage(torch.rand(6), old, new))


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (7,), (1,)),
        (1, (6,), (1,)),
        (0, (10**9, 10**9), (0, 0)),
        (0, (2, 3), (3, -1)),
        (-1, (2,), (1,)),
        (0, (2,), (1, 1)),
        (0, (2.0,), (1,)),
    ],
)
def test_a_tensor_reads_no_memory_outside_its_storage(offset: Any, size: Any, stride: Any) -> None:
    with pytest.raises(UserError, match="contains a tensor"):
        rebuild_tensor(np.arange(6.0), offset, size, stride)


def test_a_pickle_cannot_change_the_functions_that_replace_those_of_torch() -> None:
    state = pickle.EMPTY_DICT + b"X\x0c\x00\x00\x00__defaults__" + pickle.NONE + pickle.SETITEM
    both = pickle.NONE + state + pickle.TUPLE2
    data = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n" + both + pickle.BUILD + b"."
    before = rebuild_tensor.__defaults__, dict(rebuild_tensor.__dict__)
    load(data)
    assert (rebuild_tensor.__defaults__, dict(rebuild_tensor.__dict__)) == before


def test_a_bytearray_that_claims_gigabytes_is_not_allocated() -> None:
    with pytest.raises(EOFError, match="ends within a bytearray"):
        load(b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"abc.")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (np.zeros((2, 3)), "holds an array of type float64 and shape (2, 3) instead of a dict"),
        (np.array([{}, {}], dtype=object), "holds several objects instead of a dict"),
    ],
)
def test_a_file_without_a_single_object_is_refused(content: np.ndarray, said: str) -> None:
    file = io.BytesIO()
    np.save(file, content)
    with pytest.raises(UserError, match=re.escape(said)):
        load_object(file.getvalue(), TYPES, "maps")
    with pytest.raises(UserError, match=r"is not a file of np\.save"):
        load_object(b"PK" + file.getvalue(), TYPES, "maps")
