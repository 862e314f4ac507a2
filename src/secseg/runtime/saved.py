"""Reading what ``torch.save`` wrote, without Lightning, whose import takes seconds."""

from __future__ import annotations

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
        return torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # torch raises whatever the damaged bytes lead to
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"The checkpoint {path} cannot be read: {reason}. It is damaged, or not a checkpoint; take another one."
        ) from error
