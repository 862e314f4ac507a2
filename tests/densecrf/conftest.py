"""pydensecrf is the reference. Comparisons with it are skipped if it is not installed, but not in CI."""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def official() -> ModuleType:
    """The module ``pydensecrf.densecrf``."""
    if os.environ.get("CI"):
        return import_module("pydensecrf.densecrf")
    return pytest.importorskip("pydensecrf.densecrf")


@pytest.fixture(scope="session")
def official_utils(official: ModuleType) -> ModuleType:
    """The module ``pydensecrf.utils``."""
    return pytest.importorskip("pydensecrf.utils")
