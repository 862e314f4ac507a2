"""Numba's compiler, with its cache in a folder that can be written."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba

from secseg.utils.files import user_cache


def _cache_folder() -> Path:
    """The user's cache, or a folder for this process alone where that cannot be written."""
    folder = user_cache() / "numba"
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if os.access(folder, os.W_OK):
        return folder
    folder = Path(tempfile.mkdtemp(prefix="secseg-numba-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


# Numba would cache beside this file, and cannot be asked to look elsewhere but by its environment.
if "NUMBA_CACHE_DIR" not in os.environ:
    os.environ["NUMBA_CACHE_DIR"] = str(_cache_folder())
numba.config.reload_config()  # it read the environment when it was imported

#: Compiled once a machine, without the GIL, so that threads work on several images.
njit: Any = numba.njit(cache=True, nogil=True)
