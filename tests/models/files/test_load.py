"""A network is loaded unchanged from each kind of file, and other files are refused with what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import secseg
from secseg.data.cues import Cues, CueStore
from secseg.models import SegmentationNet
from secseg.models.files.export import export_checkpoint
from secseg.utils.errors import UserError
from tests.stored_run import CLASSES, write_run

IMAGES = torch.randint(0, 256, (2, 3, 65, 65), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


@pytest.fixture(scope="module")
def network(folder: Path) -> SegmentationNet:
    original = write_run(folder / "run")
    export_checkpoint(folder / "run", folder / "exported")
    return original


@pytest.mark.parametrize(
    "path", ["run", "run/checkpoints/last.ckpt", "exported", "exported/model.safetensors", "renamed"]
)
def test_a_network_is_loaded_as_it_was_bit_for_bit(folder: Path, network: SegmentationNet, path: str) -> None:
    if path == "renamed":
        (folder / path).write_bytes((folder / "exported" / "model.safetensors").read_bytes())
    loaded = secseg.load(folder / path)
    assert (loaded.class_names, loaded.input_size) == (CLASSES, 65)
    assert loaded.trunk.normalization == network.trunk.normalization
    assert not any(module.training for module in loaded.modules())
    with torch.inference_mode():
        assert torch.equal(loaded(IMAGES), network(IMAGES))


def state_dict(path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, path)


def others_checkpoint(path: Path) -> None:
    torch.save({"state_dict": {"weight": torch.zeros(2)}, "epoch": 3}, path)


def cues(path: Path) -> None:
    CueStore.from_dict({"a": Cues((1,), np.zeros((5, 5), np.uint8))}, {}).save(path)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (state_dict, "a state dict: weights without"),
        (others_checkpoint, "another program"),
        (lambda path: torch.save([1, 2], path), r"it contains a list"),
        (lambda path: save_file({"weight": torch.zeros(2)}, path), "do not say which network"),
        (cues, "holds localization cues. Give the file of a segmentation network"),
        (lambda path: Image.new("RGB", (8, 8)).save(path, "PNG"), "cannot be read"),
        (lambda path: path.write_text("notes"), "cannot be read"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: path.mkdir(), r"no checkpoints/last\.ckpt and no model\.safetensors"),
        (lambda path: None, "There is no run folder, checkpoint or exported network at "),
    ],
)
def test_other_files_are_refused_with_what_they_are(tmp_path: Path, write: Any, said: str) -> None:
    write(tmp_path / "given")
    with pytest.raises(UserError, match=said) as error:
        secseg.load(tmp_path / "given")
    assert str(tmp_path / "given") in str(error.value)


def test_a_caffe_model_is_refused_with_the_command_that_turns_it_into_a_network(tmp_path: Path) -> None:
    (tmp_path / "SEC.caffemodel").write_bytes(b"\x0a\x01a")
    with pytest.raises(UserError, match=rf"src/export\.py caffe={tmp_path}"):
        secseg.load(tmp_path / "SEC.caffemodel")


@pytest.mark.parametrize("part", ["trunk", "head"])
@pytest.mark.parametrize("target", ["os.system", "torch.hub.load", "secseg.utils.files.os.system", "secseg.load", ""])
def test_a_checkpoint_that_names_other_code_as_its_network_is_refused(tmp_path: Path, part: str, target: str) -> None:
    write_run(tmp_path / "run", **{part: {"_target_": target, "command": f"touch {tmp_path / 'ran'}"}})
    with pytest.raises(UserError, match=r"is not allowed|is no "):
        secseg.load(tmp_path / "run")
    assert not (tmp_path / "ran").exists()
