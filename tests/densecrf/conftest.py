"""pydensecrf is the reference. Comparisons with it are skipped if it is not installed, but not in CI."""

from __future__ import annotations

import os
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def official() -> ModuleType:
    """The module ``pydensecrf.densecrf``."""
    if os.environ.get("CI"):
        import pydensecrf.densecrf
    return pytest.importorskip("pydensecrf.densecrf")


@pytest.fixture(scope="session")
def official_utils(official: ModuleType) -> ModuleType:
    """The module ``pydensecrf.utils``."""
    return pytest.importorskip("pydensecrf.utils")
