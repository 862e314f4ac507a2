"""When the training of a classifier ends early."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

import secseg
from secseg.cue_making import make_cues
from secseg.cue_making.stopping import TIMES, StopWhenPerfect
from tests.conftest import REPOSITORY


@pytest.mark.parametrize(
    ("precisions", "stopped_after"),
    [([1.0, 1.0], 2), ([1.0, 0.9, 1.0, 1.0], 4), ([0.99] * 5, None), ([1.0], None)],
)
def test_training_stops_when_the_precision_stays_at_one(precisions: list[float], stopped_after: int | None) -> None:
    stopper, found = StopWhenPerfect(), None
    for number, precision in enumerate(precisions, 1):
        trainer = SimpleNamespace(
            callback_metrics={"val/map": torch.tensor(precision)}, global_step=number, max_steps=99, should_stop=False
        )
        stopper.on_validation_end(trainer, None)  # type: ignore[arg-type]
        if trainer.should_stop and found is None:
            found = number
    assert found == stopped_after


def test_a_resumed_training_knows_the_precision_before() -> None:
    first, second = StopWhenPerfect(), StopWhenPerfect()
    first.times = 1
    second.load_state_dict(first.state_dict())
    trainer = SimpleNamespace(
        callback_metrics={"val/map": torch.tensor(1.0)}, global_step=2, max_steps=9, should_stop=False
    )
    second.on_validation_end(trainer, None)  # type: ignore[arg-type]
    assert trainer.should_stop


def test_precision_that_cannot_be_measured_is_said_to_be_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    network = {"map": math.nan, "holdout_images": 7}
    make_cues._show({"foreground": network, "background": {**network, "map": 0.875}, "audit": None, "export": None})
    first, second = capsys.readouterr().out.splitlines()
    assert "unknown" in first
    assert "87.5 % on 7 held-out images (of their labels, not of the places of cues)" in second


def test_each_classifier_is_measured_often_enough_to_end_before_its_last_step() -> None:
    options = [path.stem for path in (REPOSITORY / "conf/localization").glob("*.yaml")]
    assert len(options) >= 4
    for option in options:
        localization = secseg.compose([f"localization={option}"], config="make_cues").localization
        for part in ("foreground", "background"):
            assert TIMES * localization[part].validate_every < localization[part].steps, (option, part)
