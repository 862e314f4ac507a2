"""In Python, each function of a command takes a composed config and chooses its run folder as the command does. The
notebook and the lines of the pages run, with small settings."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.core.hydra_config import HydraConfig

from secseg.cue_making.make_cues import make_cues
from secseg.evaluation.evaluate import evaluate
from secseg.inference.predict import predict
from secseg.utils.config import compose, to_plain
from secseg.utils.errors import UserError
from tests.conftest import REPOSITORY
from tests.inference.conftest import draw
from tests.tiny_network import write_run

SMALL = ("debug=smoke", "crf=off", "data.draw_train=8", "data.draw_val=2", "data.root=shapes", "backbone.input_size=65")
CUES = (
    *SMALL[2:-1],
    "device=cpu",
    "data.workers=0",
    *(
        f"localization.{network}.{word}"
        for network in ("foreground", "background")
        for word in ("steps=2", "batch_size=4", "network.input_size=65")
    ),
)
TRAINING = (*(word for word in SMALL if word != "crf=off"), "data.workers=0")
NOTEBOOK = REPOSITORY / "docs" / "notebook.ipynb"
TIME = r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d"


@pytest.fixture(autouse=True)
def _no_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)  # of a command that an earlier test ran in this process


def test_the_lines_of_the_readme_train_and_the_other_functions_use_the_network(tmp_path: Path) -> None:
    (lines,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text("utf-8"), re.DOTALL)
    words = ", ".join(map(repr, SMALL))
    names: dict[str, Any] = {}
    draw(tmp_path / "photo.jpg", (20, 30))
    exec(lines.replace('"debug=smoke"', words), names)
    assert names["mask"].shape == (20, 30)
    run = names["trained"]["run"]
    assert run.parent == tmp_path / "runs" / "smoke"
    assert re.fullmatch(TIME, run.name)
    assert (run / "results.json").is_file()
    scores = evaluate(compose("evaluate", f"ckpt={run}", "crf=off"))
    assert set(scores["figures"]) >= {"without_crf"}
    assert predict(compose("predict", f"ckpt={run}", "images=shapes/JPEGImages", "out=masks", "crf=off")) is None
    for command in ("evaluate", "predict"):
        (folder,) = (tmp_path / "runs" / command).iterdir()
        assert re.fullmatch(TIME, folder.name)
        assert (folder / "results.json").is_file()


def test_the_lines_of_the_page_on_prediction_predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "runs/sec/2026-01-31_12-00-00")
    draw(tmp_path / "photo.jpg", (20, 30))
    draw(tmp_path / "other.jpg", (30, 20))
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs/prediction.md").read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 2
    exec("".join(blocks).replace('"cuda"', '"cpu"'), names)
    assert Path("picture.png").is_file()
    assert [mask.shape for mask in names["masks"]] == [(20, 30), (30, 20)]
    assert names["probs"].shape == (21, 20, 30)


def test_the_notebook_goes_from_labels_to_masks_in_ten_cells(tmp_path: Path) -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert len(cells) == 10
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells), "committed without outputs"
    small = {"localization=efficientnet_lite0_fast": CUES, "experiment=demo": TRAINING}
    names: dict[str, Any] = {}
    shown = []
    for cell in cells:
        source = "".join(cell["source"])
        for word, words in small.items():
            source = source.replace(f'"{word}"', ", ".join(map(repr, (word, *words))))
        *lines, last = ast.parse(source).body
        exec(compile(ast.Module(lines, []), "cell", "exec"), names)
        if isinstance(last, ast.Expr):  # which the notebook displays
            shown.append(eval(compile(ast.Expression(last.value), "cell", "eval"), names))
        else:
            exec(compile(ast.Module([last], []), "cell", "exec"), names)
    assert names["config"].data.cues == str(names["cues"])
    assert names["trained"]["run"].parent == tmp_path / "runs" / "smoke"
    pictures = [value for value in shown if hasattr(value, "_repr_png_")]
    assert len(pictures) == 3
    assert isinstance(names["mask"], np.ndarray)


@pytest.mark.parametrize("name", ["shapes", "folder", "voc12aug"])
def test_the_folder_of_cues_has_the_name_of_the_data(name: str) -> None:
    config = to_plain(compose("make_cues", f"data={name}", "data.root=nowhere", "localization=efficientnet_lite0_fast"))
    assert config["out"] == f"cues/{name}_efficientnet_lite0_fast"
    assert re.fullmatch(TIME, Path(config["run_dir"]).name)


def test_paths_are_taken_literally_as_on_the_command_line(tmp_path: Path) -> None:
    for folder in ("/data/\u00c4pfel = rot, gr\u00fcn", "2012", "[a"):
        config = to_plain(compose("train", "data=folder", f"data.root={folder}", f"run_dir={folder}", "debug=smoke"))
        assert (config["data"]["root"], config["run_dir"]) == (folder, folder)


def test_cues_are_made_from_a_composed_config() -> None:
    with pytest.raises(UserError, match="nowhere"):
        make_cues(compose("make_cues", "data=folder", "data.root=nowhere"))
