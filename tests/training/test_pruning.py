"""A training that its search prunes ends after a validation, with the checkpoint of that validation."""

from __future__ import annotations

from pathlib import Path

import pytest

from secseg.training.pruning import Pruning
from secseg.training.run import train
from secseg.utils.config import compose
from secseg.utils.errors import Pruned
from tests.training.tiny_run import QUICK, TINY


def test_a_pruned_training_ends_after_its_validation_and_can_be_resumed(shapes: Path, tmp_path: Path) -> None:
    words = [*TINY, *QUICK, f"data.root={shapes}", f"run_dir={tmp_path / 'run'}"]
    reported = []

    def report(step: int, score: float) -> bool:
        reported.append(step)
        return True

    with pytest.raises(Pruned, match=r"^pruned after step 2 with val/miou=0\.\d{4}$"):
        train(compose("train", *words), [Pruning(report)])
    assert reported == [2]
    assert {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert not (tmp_path / "run" / "results.json").exists()
    resumed = train(compose("train", *words, "resume=auto"), [Pruning(report)])
    assert resumed["trainer"].global_step == 4
    assert reported == [2], "the score of the last step decides nothing"
