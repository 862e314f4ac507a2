"""Maps as the highest values over the training of the classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from secseg.cue_making.classifier import LocalizationNet, build_localization_net, load_localization
from secseg.cue_making.maps import MapSettings, class_maps, read_maps, write_maps
from secseg.cue_making.snapshots import snapshot_files
from secseg.cue_making.training import NAME, train_classifier
from secseg.data.images import read_image
from tests.cue_making import toy


def train(folder: Path, count: int | None, holdout: float = 0, **options: Any) -> LocalizationNet:
    images, labels = toy.draw(folder / "images", 12)
    torch.manual_seed(0)
    network = build_localization_net(toy.NETWORK, toy.CLASSES[1:])
    node = toy.training_node(steps=7, batch_size=4, validate_every=3, running_maximum=count, holdout=holdout)
    given = {"device": "cpu", "workers": 0, "feature_cache": "off", "callbacks": [], **options}
    train_classifier(network, images, labels, node, folder / "run", **given)
    return network


class StopAt(pl.Callback):
    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == 4:
            raise RuntimeError("power cut")


def test_snapshots_are_evenly_spaced_and_end_with_the_last_step(tmp_path: Path) -> None:
    network = train(tmp_path, 3)
    files = snapshot_files(tmp_path / "run")
    assert [file.stem for file in files] == ["000002", "000005", "000007"]
    first, _, last = (load_localization(file).state_dict() for file in files)
    assert all(torch.equal(value, last[name]) for name, value in network.state_dict().items())
    assert not torch.equal(first["head.classifier.weight"], last["head.classifier.weight"])


def test_a_resumed_training_writes_the_same_snapshots(tmp_path: Path) -> None:
    train(tmp_path / "whole", 3, holdout=0.25)
    with pytest.raises(RuntimeError, match="power cut"):
        train(tmp_path / "broken", 3, holdout=0.25, callbacks=[StopAt()])
    assert len(snapshot_files(tmp_path / "broken" / "run")) == 1
    train(tmp_path / "broken", 3, holdout=0.25)
    whole, resumed = (snapshot_files(tmp_path / name / "run") for name in ("whole", "broken"))
    assert [file.name for file in whole] == [file.name for file in resumed]
    assert all(file.read_bytes() == again.read_bytes() for file, again in zip(whole, resumed, strict=True))


def test_more_snapshots_than_steps_are_one_for_each_step_and_null_is_none(tmp_path: Path) -> None:
    train(tmp_path / "many", 50)
    assert len(snapshot_files(tmp_path / "many" / "run")) == 7
    train(tmp_path / "none", None)
    assert sorted(path.name for path in (tmp_path / "none" / "run").iterdir()) == ["checkpoints", NAME]


def test_each_map_is_the_highest_value_over_the_networks_and_scores_are_those_of_the_last(tmp_path: Path) -> None:
    images, labels = toy.draw(tmp_path / "images", 4)
    networks = []
    for seed in range(3):
        torch.manual_seed(seed)
        networks.append(build_localization_net(toy.NETWORK, toy.CLASSES[1:]).eval())
    settings, name, own = MapSettings(mirror=True, grid=(9, 9)), "image03", (1, 2)
    write_maps(tmp_path / "maps", images, labels, networks[:1], settings, earlier=networks[1:])
    found = read_maps(tmp_path / "maps", name, own, 3)
    each = np.stack([class_maps(network, read_image(images.images[3]), settings).numpy() for network in networks])
    np.testing.assert_allclose(found.maps[[0, 1]], each.max(0)[[0, 1]], atol=1e-3)
    np.testing.assert_allclose(found.highest, each.max((0, 1)), atol=1e-3)
    np.testing.assert_allclose(found.scores[[0, 1]], each[0, [0, 1]].mean((1, 2)), atol=1e-3)
    assert (each.max(0) > each[0]).any()
