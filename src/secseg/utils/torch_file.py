"""Read files that ``torch.save`` wrote, without Lightning, whose import takes seconds."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import torch

from secseg.utils.errors import UserError

END, END_SIZE = b"PK\x05\x06", 22  # of a zip archive without a comment, as torch writes it


def load_saved(path: Path, map_location: Any = "cpu", mmap: bool = False) -> Any:
    """Return the content of a file that ``torch.save`` wrote. No code from the file is run.

    torch does not compress tensors. A file with compressed parts is refused, since a few bytes could unpack to
    gigabytes. The checksum of each part is verified, which torch does not do. Files from before torch 1.6 have none.

    Raises:
        Exception: of any type, if the file is damaged.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
                raise ValueError("it holds compressed parts, which torch does not write")
            if (damaged := archive.testzip()) is not None:
                raise ValueError(f"its part {damaged} does not match its checksum")
        with path.open("rb") as file:
            file.seek(-END_SIZE, os.SEEK_END)
            if file.read(len(END)) != END:
                raise ValueError("bytes follow its end")
    return torch.load(path, map_location=map_location, mmap=mmap, weights_only=True)


def find_damage(checkpoint: Path) -> str | None:
    """Return what is wrong with a checkpoint of a training, or None if it is complete."""
    try:
        state = load_saved(checkpoint, mmap=True)
        missing = [key for key in ("state_dict", "optimizer_states", "loops") if key not in state]
    except Exception as error:  # of any type, if the file is damaged
        return str(error).partition("\n")[0] or type(error).__name__
    return f"it lacks {', '.join(missing)}" if missing else None


def read_saved(path: Path, map_location: Any = "cpu") -> Any:
    """Return the content of a checkpoint. No code from the file is run.

    Raises:
        UserError: if the file does not exist or cannot be read.
    """
    if not path.is_file():
        raise UserError(f"There is no checkpoint {path}. Check the path.")
    try:
        return load_saved(path, map_location)
    except Exception as error:  # of any type, if the file is damaged
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"The checkpoint {path} cannot be read: {reason}. It is damaged, or not a checkpoint. Give another one."
        ) from error
