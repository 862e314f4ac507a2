from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import secseg
from secseg.runs.run_writer import versions, write_config, write_results, write_versions


def test_results_are_plain_and_sorted_with_null_for_numbers_that_are_not_finite(tmp_path: Path) -> None:
    results = {
        "miou": float("nan"),
        "iou": {"cat": np.float32(0.5), "background": torch.tensor(0.25)},
        "worst": -np.inf,
        "steps": np.int64(3),
        "confusion": np.eye(2, dtype=np.int64),
        "checkpoint": Path("runs/best.ckpt"),
        "crf": None,
        "flip": True,
        "scales": (0.5, 1),
    }
    write_results(tmp_path, results)
    text = (tmp_path / "results.json").read_text()
    read = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert read == {
        "miou": None,
        "iou": {"cat": 0.5, "background": 0.25},
        "worst": None,
        "steps": 3,
        "confusion": [[1, 0], [0, 1]],
        "checkpoint": "runs/best.ckpt",
        "crf": None,
        "flip": True,
        "scales": [0.5, 1],
    }
    assert list(read) == sorted(read)


def test_results_that_cannot_be_written_keep_the_earlier_file(tmp_path: Path) -> None:
    write_results(tmp_path, {"miou": 0.5})
    with pytest.raises(TypeError, match="object"):
        write_results(tmp_path, {"miou": 0.6, "bad": object()})
    assert json.loads((tmp_path / "results.json").read_text()) == {"miou": 0.5}
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_versions_list_packages_machine_and_commit(tmp_path: Path) -> None:
    write_versions(tmp_path)
    read = json.loads((tmp_path / "versions.json").read_text())
    assert read["packages"]["torch"] == torch.__version__.partition("+")[0] or torch.__version__
    assert read["packages"]["secseg"] == secseg.__version__
    assert read["cpu"]["name"]
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True)
    if head.returncode == 0:
        assert read["git"]["commit"] == head.stdout.strip()


def test_an_installed_package_has_no_commit_even_inside_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / ".venv" / "secseg" / "__init__.py"
    package.parent.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.setattr(secseg, "__file__", str(package))
    assert versions()["git"] is None


def test_a_run_that_continues_logs_different_settings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = {"run_dir": "a", "resume": "never", "optim": {"lr": 0.1, "name": "sgd"}, "decay": {"pos": 0.996}}
    write_config(tmp_path, config)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == config
    write_config(tmp_path, {**config, "run_dir": "b", "resume": "auto"})
    assert not caplog.records
    write_config(tmp_path, {**config, "optim": {"lr": 0.01, "name": "sgd"}, "seed": 3})
    assert "optim.lr: 0.1 -> 0.01" in caplog.text
    assert "seed: None -> 3" in caplog.text
    assert "decay" not in caplog.text
