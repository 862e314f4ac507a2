"""Reading what ``torch.save`` wrote, without Lightning, whose import takes seconds."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from secseg.errors import UserError


def read_saved(path: Path, map_location: Any = "cpu") -> Any:
    """Return what a checkpoint holds; no code from the file is run.

    Raises:
        UserError: where there is none, or it cannot be read.
    """
    if not path.is_file():
        raise UserError(f"There is no checkpoint {path}. Check ckpt_path.")
    try:
        verify_saved(path)
        return torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # torch raises whatever the damaged bytes lead to
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"The checkpoint {path} cannot be read: {reason}. It is damaged, or not a checkpoint; take another one."
        ) from error


def verify_saved(path: Path) -> None:
    """Compare the parts of what ``torch.save`` wrote with their checksums, which torch itself does not.

    A file from before torch 1.6 has none.

    Raises:
        ValueError, OSError, zipfile.BadZipFile, zlib.error: for a damaged file.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if (part := archive.testzip()) is not None:
                raise ValueError(f"its part {part} does not match its checksum")
