"""Training from image-level labels: it learns, keeps the best weights, and shares the feature cache."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from secseg.cue_making.classifier import LocalizationNet, build_localization_net, load_localization
from secseg.cue_making.data import split_holdout
from secseg.cue_making.maps import MapSettings, class_maps
from secseg.cue_making.training import NAME, train_classifier
from secseg.data.voc_module import VOCDataModule
from secseg.models import build_network
from secseg.training.feature_cache import attach_features
from secseg.utils.errors import UserError
from tests.cue_making import toy
from tests.tiny_network import BACKBONE

FROZEN = {**toy.NETWORK, "freeze": True}


def train(folder: Path, node: dict[str, Any] = toy.NETWORK, count: int = 32, **options: Any) -> dict[str, Any]:
    images, labels = toy.draw(folder / "images", count)
    torch.manual_seed(0)
    network = options.pop("network", None) or build_localization_net(node, toy.CLASSES[1:])
    given = {"device": "cpu", "workers": 0, "callbacks": [], "feature_cache": str(folder / "cache")}
    for key in list(options):
        if key in ("workers", "callbacks"):
            given[key] = options.pop(key)
    labels = options.pop("labels", labels)
    return train_classifier(
        network, images, labels, toy.training_node(network=node, **options), folder / "run", **given
    )


def state(folder: Path) -> dict[str, torch.Tensor]:
    return load_localization(folder / "run" / NAME).state_dict()


def test_it_learns_distinct_classes_and_their_position(tmp_path: Path) -> None:
    results = train(tmp_path)
    assert results["map"] > 0.95
    assert results["map"] == pytest.approx(sum(results["ap"].values()) / 3)
    assert (results["steps"], results["train_images"], results["holdout_images"]) == (40, 24, 8)
    json.dumps(results)
    network = load_localization(tmp_path / "run" / NAME)
    red = toy.np.full((64, 64, 3), 128, toy.np.uint8)
    red[:32, :32] = (255, 0, 0)
    peak = int(class_maps(network, red, MapSettings(grid=(9, 9)))[0].argmax())
    assert peak // 9 < 5
    assert peak % 9 < 5


def test_progress_shows_the_loss_and_mean_average_precision(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    train(tmp_path, steps=2, validate_every=1, callbacks=None)
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert "step 2/2" in last
    assert "loss" in last
    assert "mAP" in last


class Spoil(pl.Callback):
    """Inverts the weights of the classifier before the last validation."""

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        if trainer.global_step == 20:
            with torch.no_grad():
                module.network.head.classifier.weight.neg_()


@pytest.mark.parametrize("every", [10, 15], ids=["validation at the last step", "extra validation"])
def test_the_best_weights_are_kept_not_the_last(tmp_path: Path, every: int) -> None:
    network = build_localization_net(toy.NETWORK, toy.CLASSES[1:])
    results = train(tmp_path, steps=20, validate_every=every, network=network, callbacks=[Spoil()])
    assert results["kept_step"] == every
    assert results["map"] > 0.7
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in state(tmp_path).items())
    assert not network.training


def test_the_same_seed_gives_the_same_weights_with_and_without_workers(tmp_path: Path) -> None:
    train(tmp_path / "a", steps=4)
    train(tmp_path / "b", steps=4, workers=1)
    first, second = state(tmp_path / "a"), state(tmp_path / "b")
    assert all(torch.equal(value, second[name]) for name, value in first.items())


class StopAt(pl.Callback):
    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == 5:
            raise RuntimeError("power cut")


def test_an_interrupted_training_resumes_with_the_same_result(tmp_path: Path) -> None:
    train(tmp_path / "whole", steps=8, validate_every=4)
    with pytest.raises(RuntimeError, match="power cut"):
        train(tmp_path / "broken", steps=8, validate_every=4, callbacks=[StopAt()])
    train(tmp_path / "broken", steps=8, validate_every=4)
    whole, resumed = state(tmp_path / "whole"), state(tmp_path / "broken")
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_without_held_out_images_the_last_weights_are_kept_without_scores(tmp_path: Path) -> None:
    results = train(tmp_path, steps=3, holdout=0, validate_every=3)
    assert (results["map"], results["ap"], results["kept_step"], results["holdout_images"]) == (None, None, 3, 0)
    assert math.isfinite(results["loss"])


@pytest.mark.parametrize("held_out", [["image00"], ["image07", "image15"]], ids=["no class", "all classes"])
def test_held_out_images_that_cannot_tell_classes_apart_give_no_score_and_one_warning(
    tmp_path: Path, held_out: list[str], caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    results = train(tmp_path, steps=4, validate_every=1, holdout=held_out, callbacks=None)
    assert math.isnan(results["map"])
    assert (results["kept_step"], results["steps"]) == (4, 4)
    warnings = [line for line in caplog.messages if "cannot be computed" in line]
    assert len(warnings) == 1
    assert f"all of the {len(held_out)} held-out images or in none of them" in warnings[0]
    assert "nan" not in capsys.readouterr().out


def test_a_class_that_all_held_out_images_have_does_not_count_in_the_mean(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    results = train(tmp_path, steps=2, holdout=["image01", "image03", "image05"])  # all red, some green, some blue
    precision = results["ap"]
    assert math.isnan(precision["red"])
    assert results["map"] == pytest.approx((precision["green"] + precision["blue"]) / 2)
    assert "cannot be computed" not in caplog.text


def test_a_frozen_trunk_shares_the_entries_of_the_segmentation_networks_cache(tmp_path: Path) -> None:
    images, _ = toy.draw(tmp_path / "images", 8)
    torch.manual_seed(0)
    segmenter = build_network({**BACKBONE, "freeze": True}, toy.CLASSES)
    data = VOCDataModule(str(tmp_path), feature_cache=str(tmp_path / "cache"))
    data.train_images, data.val_images, data.cues = images, split_holdout(images, 0.2)[1], None
    attach_features(data, segmenter, 65)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*-opencv-mirror/*")}
    assert len(files) == 8
    train(tmp_path, FROZEN, 8, steps=2, batch_size=4)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*-opencv-mirror/*")} == files


def test_cached_features_train_the_head_only(tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = build_localization_net(FROZEN, toy.CLASSES[1:]).state_dict()
    train(tmp_path, FROZEN, steps=5, batch_size=4)
    after = state(tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in after.items() if name.startswith("trunk"))
    assert not torch.equal(after["head.classifier.weight"], before["head.classifier.weight"])


def test_one_class_is_enough_and_balance_is_taken_from_the_training_images(tmp_path: Path) -> None:
    images, labels = toy.draw(tmp_path / "images", 8)
    images = toy.ImageSet("one", images.names, images.images, None, ("background", "red"), images.palette)
    labels = {name: tuple(c for c in classes if c == 1) for name, classes in labels.items()}
    network: LocalizationNet = build_localization_net(toy.NETWORK, ("red",))
    stage = toy.training_node(steps=2, balance="inverse", batch_size=4)
    results = train_classifier(network, images, labels, stage, tmp_path / "run", device="cpu", workers=0, callbacks=[])
    assert list(results["ap"]) == ["red"]


def test_a_loss_that_is_not_finite_ends_the_run_with_a_message(tmp_path: Path) -> None:
    network = build_localization_net(toy.NETWORK, toy.CLASSES[1:])
    torch.nn.init.constant_(network.head.classifier.weight, math.nan)
    with pytest.raises(UserError, match="not finite at step 0"):
        train(tmp_path, steps=2, network=network)
