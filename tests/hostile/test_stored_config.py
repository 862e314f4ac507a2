"""The stored config and results of someone else's run cannot run code, read variables, draw data or fill memory."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from secseg.data.datamodule import ImageDataModule
from secseg.evaluation.evaluate import open_data
from secseg.evaluation.report.build import report
from secseg.runs.run_reader import read_config, read_training_results
from secseg.runs.run_writer import write_config
from secseg.utils.config import build
from secseg.utils.errors import UserError
from tests.evaluation.report.synthetic import write_run
from tests.evaluation.report.test_build import config
from tests.tiny_network import write_run as write_network

TARGETS = [
    "os.system",
    "torch.os.system",
    "torch.hub.load",
    "secseg.utils.files.os.system",
    "pytorch_lightning.Trainer",
    "",
]
VOC = "secseg.data.voc_module.VOCDataModule"


def mask() -> dict[str, np.ndarray]:
    return {"val_00000": np.eye(20, 30, dtype=np.uint8)}


def reported(folder: Path, settings: dict[str, Any], results: dict[str, Any] | None = None) -> str:
    """Return the page of a run with changed stored settings and results."""
    run = folder / "runs" / "run"
    if not run.is_dir():
        write_run(run, (), mask())
    stored = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**stored, **settings}))
    found = json.loads((run / "results.json").read_text())
    (run / "results.json").write_text(json.dumps({**found, **(results or {})}))
    return (report(config(run, folder / "out"), "") / "report.html").read_text("utf-8")


@pytest.mark.parametrize("target", TARGETS)
def test_a_report_and_an_evaluation_run_no_code_that_a_stored_config_names(target: str, tmp_path: Path) -> None:
    node = {"_target_": target, "command": f"touch {tmp_path / 'ran'}", "root": str(tmp_path)}
    assert "Without images and truth" in reported(tmp_path, {"data": node})
    folder = write_network(tmp_path / "network")
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    checkpoint["secseg"]["config"]["data"] = node
    torch.save(checkpoint, folder / "checkpoints" / "last.ckpt")
    with pytest.raises(UserError, match=r"is not allowed|is no ImageDataModule"):
        open_data({"ckpt": str(folder), "root": None, "split": None, "scored": None, "limit": None})
    assert not (tmp_path / "ran").exists()


def test_a_module_outside_the_allowed_packages_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hostile_module.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="is not allowed"):
        build({"_target_": "hostile_module.run"}, ImageDataModule)
    assert "hostile_module" not in sys.modules


def test_environment_variables_are_not_resolved_into_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "do-not-show")
    leak = "${oc.env:SECRET_TOKEN}"
    stored = reported(tmp_path, {"name": leak, "data": {"_target_": VOC, "root": leak}})
    assert "${oc.env:SECRET_TOKEN}" in stored
    assert "do-not-show" not in stored
    assert read_config(tmp_path / "runs" / "run" / "config.yaml")["name"] == leak


def test_a_report_does_not_draw_missing_data(tmp_path: Path) -> None:
    node = {"_target_": "secseg.data.shapes_module.ShapesDataModule", "val_split": "val", "draw_train": 10**9}
    for root in (tmp_path / "absent", tmp_path / "empty"):
        if root.name == "empty":
            root.mkdir()
        assert "Without images and truth" in reported(tmp_path, {"data": {**node, "root": str(root)}})
        assert not root.is_dir() or not list(root.iterdir())


@pytest.mark.parametrize(
    "node",
    [{}, {"_target_": 3}, {"_target_": VOC, "root": 5, "val_split": 7}, {"_target_": VOC, "root": ".", "val_split": 7}],
)
def test_with_settings_of_a_wrong_type_a_report_lacks_only_the_images(node: dict[str, Any], tmp_path: Path) -> None:
    assert "Without images and truth" in reported(tmp_path, {"data": node})


GROWING = {
    "references": "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
    + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 10)}]\n" for n in range(12)),
    "merge keys": "a: &a {x: 1}\n"
    + "".join(f"{chr(98 + n)}: &{chr(98 + n)} {{<<: [{','.join(['*' + chr(97 + n)] * 10)}]}}\n" for n in range(12)),
    "itself": "a: &a {b: *a}\n",
    "depth": "a: " + "[" * 10_000,
    "a tag": "a: !!python/object/apply:os.system ['true']\n",
    "size": "a: 1\n" + "#" * 2**20,
    "half a character": 'a: "\\ud800"\n',
    "a list": "[a, b]\n",
    "a number as a name": "1: 2\n",
    "not text": "\x00",
}


@pytest.mark.parametrize("kind", list(GROWING))
def test_a_config_that_grows_or_is_not_a_mapping_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(GROWING[kind])
    with pytest.raises(UserError, match=r"config\.yaml cannot be read"):
        read_config(tmp_path / "config.yaml")
    with pytest.raises(UserError, match=r"config\.yaml cannot be read"):
        write_config(tmp_path, {"a": 1})


words = st.sampled_from(["miou", "iou", "figures", "without_crf", "protocol", "scored", "time", "git", "losses"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored")
    reported(folder, {})
    return folder


@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(st.dictionaries(st.sampled_from(["figures", "protocol", "time", "versions"]), values, min_size=1))
@example({"versions": {"git": {"commit": 5, "dirty": 1}}})
@example({"time": {"seconds": "1"}})
@example({"protocol": {"scored": ["background"]}})
def test_results_of_any_form_give_a_page_or_an_error(run: Path, changes: dict[str, Any]) -> None:
    before = (run / "runs" / "run" / "results.json").read_text()
    try:
        reported(run, {}, changes)
    except UserError:
        pass
    finally:
        (run / "runs" / "run" / "results.json").write_text(before)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(values)
@example({"figures": {"without_crf": {"miou": float("nan"), "iou": {}}}, "losses": {}, "protocol": {}})
def test_accepted_results_hold_shares_and_class_names(run: Path, content: Any) -> None:
    path = run / "any.json"
    path.write_text(json.dumps(content))
    try:
        found = read_training_results(path)
    except UserError:
        return
    assert found is None or all(isinstance(name, str) for name in found["protocol"]["scored"])


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": "\\ud800"}', '{"a": ' + "9" * 5000 + "}", "\x00"])
def test_json_that_is_nested_too_deeply_or_not_text_is_reported(text: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(UserError, match=r"results\.json cannot be read"):
        read_training_results(tmp_path / "results.json")
