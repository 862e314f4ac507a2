"""The nodes of conf/localization, as a command composes them, and a folder in which the command has run."""

from __future__ import annotations

import io
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from secseg.utils.config import config_dir, to_plain
from tests.command import Outcome
from tests.cue_making.toy_cues import Make, run, toy_folder
from tests.models.conftest import vgg16_file  # noqa: F401 (a fixture)


def localization(option: str) -> dict[str, Any]:
    """Return ``conf/localization/<option>.yaml``, plain."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return to_plain(compose(overrides=[f"+localization={option}"]))["localization"]


@pytest.fixture(scope="session")
def paper() -> dict[str, Any]:
    """The paper's two networks, without pretrained weights."""
    nodes = localization("paper")
    for name in ("foreground", "background"):
        nodes[name]["network"]["trunk"]["weights"] = None
    return nodes


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A folder in which the official recipe has run, with ``out=<data.root>``, and the output of the command."""
    root = toy_folder(tmp_path_factory.mktemp("make_cues") / "toys")
    said, error = io.StringIO(), io.StringIO()
    captured: Any = SimpleNamespace(readouterr=lambda: SimpleNamespace(out=said.getvalue(), err=error.getvalue()))
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(error):
        outcome = run(root, root, patch, captured, "cues=official")
    assert outcome.code == 0, outcome.error
    return root, outcome


@pytest.fixture
def root(finished: tuple[Path, Outcome], tmp_path: Path) -> Path:
    """A copy of the finished folder."""
    return shutil.copytree(finished[0], tmp_path / "toys")


@pytest.fixture
def make(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Make:
    def call(*words: str, out: Path = root) -> Outcome:
        return run(root, out, monkeypatch, capsys, *words)

    return call
