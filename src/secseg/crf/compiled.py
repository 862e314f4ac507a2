"""Numba's compiler, with its cache in a folder that can be written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numba

from secseg.files import user_cache


def _cache_folder() -> Path:
    """The user's cache, or a temporary folder where that cannot be written."""
    folder = user_cache() / "numba"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="secseg-numba-"))
    return folder if os.access(folder, os.W_OK) else Path(tempfile.mkdtemp(prefix="secseg-numba-"))


# Numba would cache beside this file, and cannot be asked to look elsewhere but by its environment.
if "NUMBA_CACHE_DIR" not in os.environ:
    os.environ["NUMBA_CACHE_DIR"] = str(_cache_folder())
numba.config.reload_config()  # it read the environment when it was imported

#: Compiled once a machine, without the GIL, so that threads work on several images.
njit: Any = numba.njit(cache=True, nogil=True)
