"""Files and folders that the settings of a command name. A missing one is reported before torch is imported, which
takes seconds. The packages check them again, since they are used from Python, too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from secseg.utils.checks import refuse
from secseg.utils.errors import UserError
from secseg.utils.files import neighbours

_PLACES = {
    "ckpt": "run folder, checkpoint or exported network",
    "ckpt_path": "checkpoint",
    "cue_file": "cue file",
    "data.cues": "cue file",
    "maps": "folder of maps",
    "masks": "folder of masks",
    "data.masks": "folder of masks",
    "caffe": "Caffe model",
}
_WORDS = ("dataset", "some")  # of data.masks: no path
_FOLDER, _VOC = "secseg.data.folder_module.FolderDataModule", "secseg.data.voc_module.VOCDataModule"


def check_data(data: Mapping[str, Any] | None) -> None:
    """Raise a UserError if the folder of a ``data`` node has no data, or its cue file or folder of masks is missing."""
    if data is None:
        return
    root = None if data.get("root") is None else Path(str(data["root"])).expanduser()
    if data.get("_target_") == _FOLDER and root is not None and not root.is_dir():
        raise UserError(
            f"There is no folder {root}.{neighbours(root)} Set data.root to the folder of your images and labels."
        )
    if data.get("_target_") == _VOC and root is not None:
        from secseg.data.voc import find_data

        find_data(root)
    check_places({f"data.{key}": value for key, value in data.items()})


def check_places(settings: Mapping[str, Any]) -> None:
    """Raise a UserError with all settings of ``_PLACES`` that name a missing file or folder."""
    refuse(_missing(settings))


def _missing(settings: Mapping[str, Any]) -> Iterator[str]:
    for key, what in _PLACES.items():
        value = settings.get(key)
        if isinstance(value, str) and value not in _WORDS and not (path := Path(value).expanduser()).exists():
            yield f"{key}={value}: there is no {what} at this path.{neighbours(path)}"
