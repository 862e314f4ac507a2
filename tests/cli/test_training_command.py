"""The training command that ``src/make_cues.py`` prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from secseg.cli import make_cues
from tests.conftest import REPOSITORY
from tests.documents import PAGES, commands


def printed(monkeypatch: pytest.MonkeyPatch, cues: str, *given: str) -> str:
    words = {"task": [*given, "data=folder", "data.root=my_data"], "hydra": []}
    monkeypatch.setattr(make_cues, "given_settings", lambda kind="task": words[kind])
    return make_cues.training_command(Path(cues), "my_data").partition("train.py ")[2]


@pytest.mark.parametrize(
    ("localization", "recipe"),
    [([], "own_images"), (["localization=efficientnet_lite0_fast"], "own_images_fast")],
    ids=["default", "fast"],
)
def test_fast_cues_are_followed_by_the_fast_recipe(
    localization: list[str], recipe: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    wanted = f"experiment={recipe} data.root=my_data data.cues=other/cues.safetensors run_dir=runs/mine"
    assert printed(monkeypatch, "other/cues.safetensors", *localization) == wanted


def test_the_command_is_that_of_the_documentation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_data").mkdir()
    (tmp_path / "my_data" / "cues.safetensors").touch()
    page = PAGES[REPOSITORY / "docs" / "own_images.md"]
    wanted = next(one for one in commands(page) if "src/train.py experiment=own_images " in one)
    assert wanted.endswith(printed(monkeypatch, "my_data/cues.safetensors", "out=my_data"))
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    again = printed(monkeypatch, "my_data/cues.safetensors", "out=my_data")
    assert again == "experiment=own_images data.root=my_data", "training refuses a run folder that exists"
