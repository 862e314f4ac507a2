"""Fixtures that several rooms use."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from secseg.utils.files import user_cache

REPOSITORY = Path(__file__).resolve().parents[1]

# Workers of pytest-xdist, and the processes that they start, share the cores. Read by torch when it is imported.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
# What Numba compiles, which takes seconds, serves all processes that tests start, also those with another cache.
os.environ.setdefault("NUMBA_CACHE_DIR", str(user_cache() / "numba"))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out tests/cluster, which starts daemons, unless the command line names it."""
    if collection_path != REPOSITORY / "tests" / "cluster":
        return None
    named = (Path(config.invocation_params.dir, each.partition("::")[0]) for each in config.args)
    return None if any(path.is_relative_to(collection_path) for path in named) else True


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


@pytest.fixture(autouse=True)
def _own_log_handlers() -> Iterator[None]:
    """Remove the handlers that a command, run in this process, has left on the root logger: each prints the log lines
    of later tests once more."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.setLevel(level)
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
