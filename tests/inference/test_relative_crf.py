"""The CRF's widths of a training run are those of prediction, with the run and with the exported network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import secseg
from secseg.models.files.export import export_checkpoint
from secseg.utils.config import compose, to_plain
from tests.tiny_network import write_run


def relative_run(folder: Path, widths_at: object) -> Path:
    run = write_run(folder)
    file = run / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(file, weights_only=False)
    config = to_plain(compose("train"))
    checkpoint["secseg"]["config"] |= {"crf": {"test": {**config["crf"]["test"], "widths_at": widths_at}}}
    torch.save(checkpoint, file)
    return run


@pytest.mark.parametrize(("widths_at", "wanted"), [(50, 50), ("auto", None), (None, None)])
def test_a_network_has_the_widths_of_its_run(tmp_path: Path, widths_at: object, wanted: object) -> None:
    assert secseg.load(relative_run(tmp_path / "run", widths_at)).widths_at == wanted


def test_prediction_scales_the_widths_as_the_run_did_unless_another_size_is_given(tmp_path: Path) -> None:
    network = secseg.load(relative_run(tmp_path / "run", 50))
    image = np.random.default_rng(0).integers(0, 256, (40, 25, 3), dtype=np.uint8)
    default, same, fixed = (
        network.predict(image, crf=crf, probabilities=True)[1]
        for crf in (
            True,
            {"bilateral_xy": 80 * 40 / 50, "gaussian_xy": 3 * 40 / 50, "widths_at": None},
            {"widths_at": None},
        )
    )
    np.testing.assert_allclose(default, same, atol=1e-6)
    assert np.abs(default - fixed).max() > 1e-4


def test_an_exported_network_keeps_the_widths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, out = relative_run(tmp_path / "run", 50), tmp_path / "out"
    monkeypatch.setattr("secseg.models.files.export.describe_training", lambda *_: {})
    export_checkpoint(run, out)
    assert secseg.load(out).widths_at == 50
