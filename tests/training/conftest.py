"""Built-in data, drawn small."""

from __future__ import annotations

from pathlib import Path

import pytest

from secseg.data.shapes import draw_shapes


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "shapes"
    draw_shapes(root, train=6, val=3, seed=0)
    return root
