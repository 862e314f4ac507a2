"""``secseg.compose``, ``train`` and ``load`` take what the commands take, and report errors in the caller's words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose as compose_any
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

import secseg
from secseg.crf import CRFParams, build_crf
from secseg.data.cues import Cues, CueStore, import_official
from secseg.data.labels import read_labels
from secseg.data.voc import open_split
from secseg.evaluation import SegmentationScore
from secseg.inference.sources import find_photographs
from secseg.losses import global_weighted_rank_pooling
from secseg.utils.config import compose, to_plain
from secseg.utils.errors import UserError


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    CueStore.from_dict({"a": Cues((1,), np.ones((2, 2), np.uint8))}, {}).save(Path("cues.safetensors"))
    Path("notes").write_text("notes")


def test_compose_gives_the_config_of_the_command() -> None:
    words = ["loss=seed", "data.root=red, green", "seed=3", "run_dir=here"]
    assert to_plain(secseg.compose(words)) == to_plain(compose("train", *words))
    assert secseg.compose(["ckpt=x"], config="predict").ckpt == "x"


def test_compose_works_in_a_program_that_uses_hydra_itself(tmp_path: Path) -> None:
    (tmp_path / "theirs.yaml").write_text("own: 1\n")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        assert secseg.compose(["seed=3"]).seed == 3
        with pytest.raises(UserError, match="unknown key"):
            secseg.compose(["sed=3"])
        assert compose_any("theirs") == {"own": 1}
    assert not GlobalHydra.instance().is_initialized()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: secseg.compose(["los=seed"]), "los: unknown key. Did you mean 'loss'"),
        (lambda: secseg.compose(["loss=sed"]), "loss=sed: unknown option. Did you mean 'seed'"),
        (lambda: secseg.compose(["loss"]), "Cannot read the setting 'loss'. Write key=value"),
        (lambda: secseg.compose("loss=seed"), r"overrides='loss=seed': give a list of settings: \['loss=seed'\]"),
        (lambda: secseg.compose(config="trian"), "config=trian: give one of .* Did you mean 'train'"),
        (lambda: secseg.train(secseg.compose(["seed=-1"])), "seed=-1: give a whole number of at least 0"),
        (lambda: secseg.train(secseg.compose(["plugins=[absent_package]"])), "package absent_package cannot be found"),
    ],
)
def test_wrong_settings_are_reported_as_by_the_command(call: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        call()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: secseg.load("/nothing"), "There is no run folder, checkpoint or exported network at /nothing"),
        (lambda: secseg.load("cue.safetensors"), "Did you mean 'cues.safetensors'"),
        (lambda: secseg.load("cues.safetensors"), "holds localization cues. Give the file of a segmentation network"),
        (lambda: secseg.load("notes"), "It is damaged, or not a checkpoint. Give another one"),
        (lambda: secseg.load("."), r"contains no checkpoints/last\.ckpt"),
        (lambda: SegmentationScore(["background"], scored=[]), "scored is empty"),
        (lambda: open_split("nothing", "val", require_masks=False), "Set root to the folder that holds VOC2012"),
        (lambda: find_photographs("val", root="nothing"), "Set root to the folder that holds VOC2012"),
        (lambda: find_photographs("nothing"), "There is nothing at images=nothing"),
        (lambda: CueStore.load("nothing"), "The cue file nothing does not exist"),
        (lambda: import_official("nothing"), "Cannot read the cue file nothing"),
        (lambda: read_labels(Path("nothing"), ["a"], ["background"]), "no file of labels at nothing"),
        (lambda: CRFParams(bilateral_xy=0), "bilateral_xy=0: give a number"),
        (lambda: build_crf("latice", CRFParams()), "backend=latice: give one of"),
        (lambda: global_weighted_rank_pooling(torch.zeros(3), 2), "decay=2: give a number"),
    ],
)
def test_a_wrong_argument_is_named_by_its_own_name_and_not_by_a_key_of_a_command(call: Any, said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        call()
    assert not re.search(r"\b(data|backbone|crf|decay|loss)\.\w+\b|ckpt", re.sub(r"\S*ckpt and", "", str(error.value)))
