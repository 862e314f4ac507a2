"""Fixtures that several rooms use."""

from __future__ import annotations

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def voc_animals() -> Path:
    """The root of the VOC slice, laid out as VOC2012; absent on most machines."""
    root = REPOSITORY.parent / "shared" / "data" / "voc_animals" / "VOC2012"
    if not root.is_dir():
        pytest.skip(f"needs real VOC images in {root}")
    return root


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests out of the user's cache: one cache folder serves the whole test session."""
    base = tmp_path_factory.getbasetemp() / "secseg-cache"
    monkeypatch.setenv("SECSEG_CACHE", str(base))
