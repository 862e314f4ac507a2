"""Pickles never run code, for any opcode: neither cue pickles nor files of torch.save."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from secseg.data.cues import open_cues
from secseg.data.cues.map_files import read_class_maps
from secseg.data.labels import read_labels
from secseg.data.tensor_pickle import load_storage
from secseg.models.files.load import load_network
from secseg.models.weights import read_weights
from secseg.runs.run_folder import open_run_folder
from secseg.utils.errors import UserError
from tests.hostile.own_files import pth
from tests.hostile.parts import put


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def attacks(mark: Path) -> dict[str, bytes]:
    """Return, by opcode, pickles that create the file ``mark`` if a reader executes them."""
    command = text(f"touch {mark}")
    code = text(f"__import__('os').system('touch {mark}')")
    system = b"cposix\nsystem\n"
    return {
        "GLOBAL and REDUCE": b"\x80\x02" + system + command + b"\x85R.",
        "STACK_GLOBAL": b"\x80\x04" + text("builtins") + text("eval") + b"\x93" + code + b"\x85R.",
        "INST": b"(" + command + b"iposix\nsystem\n.",
        "OBJ": b"\x80\x02(" + system + command + b"o.",
        "NEWOBJ": b"\x80\x02" + system + command + b"\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04" + system + command + b"\x85}\x92.",
        "BUILD": b"\x80\x02cargparse\nNamespace\n)R}" + text("a") + system + b"sb.",
        "EXT1": b"\x80\x02\x82\x01.",
        "PERSID": b"Pposix.system\n.",
        "BINPERSID": b"\x80\x02" + command + b"Q.",
        "an attribute of an allowed module": b"\x80\x04" + text("numpy") + text("core.multiarray.os") + b"\x93.",
        "NEXT_BUFFER": b"\x80\x05\x97.",
    }


OPCODES = list(attacks(Path("x")))


@pytest.mark.parametrize("opcode", OPCODES)
def test_the_cue_pickle_runs_nothing(opcode: str, tmp_path: Path) -> None:
    path = put(tmp_path, "cues.pickle", attacks(tmp_path / "ran")[opcode])
    with pytest.raises(UserError, match=r"cues\.pickle"):
        open_cues(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("opcode", OPCODES)
def test_vectors_of_labels_run_nothing(opcode: str, tmp_path: Path) -> None:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
    path = put(tmp_path, "labels.npy", file.getvalue() + attacks(tmp_path / "ran")[opcode])
    with pytest.raises(UserError, match=r"labels\.npy"):
        read_labels(path, ["a"], ("background", "cat"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("opcode", OPCODES)
def test_maps_of_other_programs_run_nothing(opcode: str, tmp_path: Path) -> None:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
    path = put(tmp_path, "maps.npy", file.getvalue() + attacks(tmp_path / "ran")[opcode])
    with pytest.raises(UserError, match=r"maps\.npy"):
        read_class_maps(path, "irn_cam", ("background", "cat"), (4, 4))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("opcode", OPCODES)
def test_tensors_in_maps_of_other_programs_run_nothing(opcode: str, tmp_path: Path) -> None:
    """The attack is the content of a storage, which torch's own reader would unpickle."""
    with pytest.raises(Exception, match=r".*"):
        load_storage(attacks(tmp_path / "ran")[opcode] * 5)
    assert not (tmp_path / "ran").exists()


def as_torch_writes(content: bytes) -> bytes:
    """Return a file of torch.save with another pickle in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(pth(Path()))) as valid, zipfile.ZipFile(file, "w") as archive:
        for name in valid.namelist():
            archive.writestr(name, content if name.endswith("data.pkl") else valid.read(name))
    return file.getvalue()


@pytest.mark.parametrize("form", [bytes, as_torch_writes])
@pytest.mark.parametrize("read", [read_weights, load_network])
@pytest.mark.parametrize("opcode", OPCODES)
def test_weights_and_checkpoints_run_nothing(
    opcode: str, read: Callable[[Path], object], form: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = put(tmp_path, "file.ckpt", form(attacks(tmp_path / "ran")[opcode]))
    with pytest.raises(UserError, match=r"file\.ckpt cannot be read"):
        read(path)
    assert not (tmp_path / "ran").exists()


def test_the_attacks_run_in_a_reader_that_executes_pickles(tmp_path: Path) -> None:
    for opcode in ("GLOBAL and REDUCE", "STACK_GLOBAL", "INST", "OBJ"):
        pickle.loads(attacks(tmp_path / opcode.replace(" ", "_"))[opcode])
        assert (tmp_path / opcode.replace(" ", "_")).exists()


@pytest.mark.parametrize("read", [read_weights, load_network])
def test_a_packed_file_that_would_unpack_to_gigabytes_is_refused(
    read: Callable[[Path], object], tmp_path: Path
) -> None:
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(pth(tmp_path))) as valid,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in valid.namelist():
            packed.writestr(name, valid.read(name))
    with pytest.raises(UserError, match="holds compressed parts"):
        read(put(tmp_path, "file.ckpt", file.getvalue()))


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, about quantized and sparse tensors and their storage
@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.eye(2).to_sparse(),
        lambda: torch.empty(10**15, device="meta"),
        lambda: torch.quantize_per_tensor(torch.ones(2), 1.0, 0, torch.qint8),
    ],
    ids=["sparse", "meta", "quantized"],
)
def test_weights_that_are_not_dense_tensors_are_refused(make: Callable[[], torch.Tensor], tmp_path: Path) -> None:
    torch.save({"weight": make()}, tmp_path / "file.pth")
    with pytest.raises(UserError, match=r"file\.pth (is not a state dict|cannot be read)"):
        read_weights(tmp_path / "file.pth")


@pytest.mark.parametrize("content", [[1], 3, torch.zeros(2), {"state_dict": 1}, {}])
def test_a_run_does_not_resume_from_a_checkpoint_with_other_content(content: object, tmp_path: Path) -> None:
    folder = tmp_path / "name" / "run"
    (folder / "checkpoints").mkdir(parents=True)
    torch.save(content, folder / "checkpoints" / "last.ckpt")
    with pytest.raises(UserError, match="Every checkpoint of the run to continue is damaged"):
        open_run_folder(folder, "name", "auto")


@pytest.mark.parametrize(
    "changes",
    [
        {"state_dict": [1]},
        {"state_dict": {3: torch.zeros(1)}},
        {"secseg": 1},
        {"secseg": {}},
        {"secseg": {"config": []}},
    ],
)
def test_a_checkpoint_whose_parts_are_of_another_type_is_refused(changes: dict[str, object], tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "secseg": {"config": {}, "class_names": []}, **changes}, tmp_path / "last.ckpt")
    with pytest.raises(UserError, match=r"last\.ckpt is damaged"):
        load_network(tmp_path / "last.ckpt")
