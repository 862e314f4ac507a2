"""Built-in data, drawn small, and complete runs on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from secseg.data.shapes import draw_shapes
from secseg.training.run import train
from secseg.utils.config import compose
from tests.training.tiny_run import TINY, Run


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "shapes"
    draw_shapes(root, train=6, val=3, seed=0)
    return root


@pytest.fixture
def run(shapes: Path, tmp_path: Path) -> Run:
    def start(*overrides: str, folder: str = "run") -> dict[str, Any]:
        return train(compose("train", *TINY, f"data.root={shapes}", f"run_dir={tmp_path / folder}", *overrides))

    return start
