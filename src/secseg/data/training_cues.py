"""Find and open the cue file of a training."""

from __future__ import annotations

from pathlib import Path

from secseg.data.cues import CueStore, find_cues, open_cues
from secseg.data.splits import ImageSet
from secseg.data.voc import check_cues
from secseg.utils.errors import UserError
from secseg.utils.program import command
from secseg.utils.quoting import override


def open_training_cues(
    cue_file: str | None, root: Path, title: str, images: ImageSet, localization: str | None = None
) -> CueStore:
    """Open and check the cues of the training images.

    Args:
        cue_file: the file; None searches ``root`` and the folders above it.
        root, title: folder and name of the data, for messages.
        images: the training images.
        localization: option of ``conf/localization`` whose networks fit the training, for messages; None for the
            default.

    Raises:
        UserError: if there are no cues, or they do not fit the images.
    """
    path = Path(cue_file).expanduser() if cue_file else find_cues(root)
    if path is None:
        fitting = [] if localization is None else [override("localization", localization)]
        settings = (override("data", title), override("data.root", root), *_cue_folder(images, root), *fitting)
        raise UserError(
            f"No cue file was found in {root} or above it. Make cues with `{command('make_cues', *settings)}` "
            "and train with the command that it prints, or name a file with data.cues=<cues.safetensors or "
            "localization_cues.pickle>."
        )
    store = open_cues(path)
    check_cues(images, store, len(images.class_names))
    return store


def _cue_folder(images: ImageSet, root: Path) -> list[str]:
    """Return the setting of make_cues with which the training finds the cues. Cues do not lie among the images."""
    folders = {path.parents[name.count("/")].resolve() for name, path in zip(images.names, images.images, strict=True)}
    return [] if root.resolve() in folders else [override("out", root)]
