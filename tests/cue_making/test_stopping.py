"""When the training of a classifier ends early."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from secseg.cue_making.stopping import StopWhenPerfect


@pytest.mark.parametrize(
    ("precisions", "stopped_after"),
    [([1.0, 1.0], 2), ([1.0, 0.9, 1.0, 1.0], 4), ([0.99] * 5, None), ([1.0], None), ([float("nan")] * 3, None)],
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
