"""The CRF's widths of a training run are those of prediction, with the run and with the exported network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import secseg
from secseg.crf import resolve_auto
from secseg.models.files.export import export_checkpoint
from secseg.utils.config import compose, to_plain
from tests.tiny_network import write_run

BOTH = {"widths_at": 50, "widths_from": 0.4}


def fitted_run(folder: Path, **widths: object) -> Path:
    run = write_run(folder)
    file = run / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(file, weights_only=False)
    config = to_plain(compose("train"))
    checkpoint["secseg"]["config"] |= {"crf": {"test": {**config["crf"]["test"], **widths}}}
    torch.save(checkpoint, file)
    return run


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (BOTH, BOTH),
        ({"widths_from": 0.4}, {"widths_from": 0.4}),
        ({"widths_at": "auto"}, {}),
        ({"widths_at": None}, {}),
    ],
)
def test_a_network_has_the_widths_of_its_run(
    tmp_path: Path, given: dict[str, object], wanted: dict[str, object]
) -> None:
    assert secseg.load(fitted_run(tmp_path / "run", **given)).test_crf == wanted


@pytest.mark.parametrize(
    ("widths", "same"),
    [
        ({"widths_at": 50}, {"bilateral_xy": 80 * 40 / 50, "gaussian_xy": 3 * 40 / 50, "widths_at": None}),
        ({"widths_from": 1}, {"widths_from": 1, "widths_at": None}),
        (BOTH, BOTH),
    ],
)
def test_prediction_scales_the_widths_as_the_run_did_unless_others_are_given(
    tmp_path: Path, widths: dict[str, Any], same: dict[str, Any]
) -> None:
    network = secseg.load(fitted_run(tmp_path / "run", **widths))
    image = np.random.default_rng(0).integers(0, 256, (40, 25, 3), dtype=np.uint8)
    default, explicit, fixed = (
        network.predict(image, crf=crf, probabilities=True)[1]
        for crf in (True, same, {"widths_at": None, "widths_from": None})
    )
    np.testing.assert_allclose(default, explicit, atol=1e-6)
    assert np.abs(default - fixed).max() > 1e-4


def test_an_exported_network_keeps_the_widths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, out = fitted_run(tmp_path / "run", **BOTH), tmp_path / "out"
    monkeypatch.setattr("secseg.models.files.export.describe_training", lambda *_: {})
    export_checkpoint(run, out)
    assert secseg.load(out).test_crf == BOTH


def test_the_weight_of_the_crf_is_that_of_the_run_unless_it_is_given(tmp_path: Path) -> None:
    network = secseg.load(fitted_run(tmp_path / "run", bilateral_weight=4)).test_crf
    assert network == {"bilateral_weight": 4}
    stage = {"backend": "lattice", "bilateral_weight": "auto", "widths_at": "auto", "scale": 1}
    assert resolve_auto(stage, network) == {**stage, "bilateral_weight": 4, "widths_at": None}
    assert resolve_auto(stage) == {**stage, "bilateral_weight": 10, "widths_at": None}
    assert resolve_auto({**stage, "bilateral_weight": 7}, network)["bilateral_weight"] == 7
