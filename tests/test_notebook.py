"""In Python, each function of a command takes a composed config and chooses its run folder as the command does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig

from secseg.cue_making.make_cues import make_cues
from secseg.evaluation.evaluate import evaluate
from secseg.inference.predict import predict
from secseg.utils.config import compose, to_plain
from secseg.utils.errors import UserError
from tests.conftest import REPOSITORY

SMALL = ("debug=smoke", "crf=off", "data.draw_train=8", "data.draw_val=2", "data.root=shapes", "backbone.input_size=65")
TIME = r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d"


@pytest.fixture(autouse=True)
def _no_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)  # of a command that an earlier test ran in this process


def test_the_lines_of_the_readme_train_and_the_other_functions_use_the_network(tmp_path: Path) -> None:
    (lines,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text("utf-8"), re.DOTALL)
    words = ", ".join(map(repr, SMALL))
    names: dict[str, Any] = {}
    exec(lines.replace('"debug=smoke"', words), names)
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
