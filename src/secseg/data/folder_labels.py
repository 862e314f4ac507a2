"""Labels and splits given by the sub-folders of the images."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from secseg.data.label_entries import LabelTable
from secseg.data.label_table import SPLIT_WORDS
from secseg.utils.errors import UserError, listing
from secseg.utils.text import count

NO_CLASSES = ("images", "imgs", "img")
"""Names of folders that are no classes in a folder of a split, in lower case."""


def folder_labels(folder: Path, names: Collection[str]) -> LabelTable:
    """Return the labels of images that lie in ``<class>/`` or in ``<split>/<class>/``, and further sub-folders.

    The class ``background`` means no class. Sub-folders are splits if two of ``train``, ``val`` and ``test`` exist, or
    if only one does and no image lies directly in it. Images in no sub-folder have no label.

    Args:
        folder: the folder of the images.
        names: names of the images, their paths below the folder.

    Raises:
        UserError: if there are folders of splits, and images that lie in no folder of a class in them.
    """
    table = LabelTable(folder)
    nested = {name: name.split("/") for name in names if "/" in name}
    splits = _splits(list(nested.values()))
    for name, parts in nested.items():
        label = parts[1] if splits else parts[0]
        table.add(name, f"folder {'/'.join(parts[:2] if splits else parts[:1])}", [label])
    if not splits:
        return table
    wrong = [name for name, parts in nested.items() if parts[0] not in splits or not _has_class(parts)]
    if wrong:
        raise UserError(
            f"{folder} has the folders of splits {', '.join(splits)}, and {count(len(wrong), 'image')} outside of "
            f"<split>/<class>/:\n{listing(sorted(wrong))}\n"
            "Move them, or name a table of labels with data.labels=<labels.csv or labels.json>."
        )
    if len(set(splits.values())) > 1:  # of a single split, a share is held out
        table.splits = {name: splits[parts[0]] for name, parts in nested.items()}
    return table


def _splits(paths: Collection[list[str]]) -> dict[str, str]:
    """Return the split of each sub-folder that is one; nothing if the sub-folders are classes."""
    firsts = sorted({parts[0] for parts in paths})
    splits = {first: SPLIT_WORDS[first.lower()] for first in firsts if first.lower() in SPLIT_WORDS}
    alone = len(splits) == len(firsts) and all(_has_class(parts) for parts in paths)
    return splits if len(set(splits.values())) > 1 or alone else {}


def _has_class(parts: list[str]) -> bool:
    return len(parts) > 2 and parts[1].lower() not in NO_CLASSES
