"""Which images of a folder are trained on and which are held out, and what a folder holds in words."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from secseg.data.folder import FolderData
from secseg.data.image_files import name_of
from secseg.data.voc import read_ids
from secseg.utils.errors import UserError, listing, nearest

MOST_LISTED = 40
"""Most classes that a summary lists."""


def choose_split(data: FolderData, split: str, val_split: str, val_share: float) -> tuple[str, ...]:
    """Return the names of the images of a split, in the order of the data, of a list in its own.

    Args:
        data: the folder.
        split: ``train``, the images that are not held out for ``val_split``; ``val``, those that the table's column
            ``split`` says, without one a share of all; ``test``, where the column says it; ``masks``, all that have a
            mask; ``all``; or an id list, ``<anything>.txt``.
        val_split: the split of validation.
        val_share: the share of ``val`` where no column says it, above 0 and below 1. Which images these are depends on
            their names alone, so that one that is added moves no other; at least one is held out, and one is not.

    Raises:
        UserError: if there is no such split, it is empty, or a list names other images.
    """
    chosen = _chosen(data, split)
    if chosen is None:
        parts = dict(data.splits or dict.fromkeys(data.images, "train"))
        held_out = _chosen(data, val_split) if val_split != "all" else ()
        if held_out is None:
            held_out = () if data.splits else _share(tuple(data.images), val_share)
        parts |= dict.fromkeys(held_out, "val")
        chosen = tuple(name for name, part in parts.items() if part == split)
        known = sorted({"all", "masks", *parts.values()})
        if not chosen:
            raise UserError(
                f"{data.root} has no image in the split {split!r} (validation: {val_split!r}).{nearest(split, known)} "
                f"There are {', '.join(known)}, and id lists (.txt)."
            )
    return chosen


def _chosen(data: FolderData, split: str) -> tuple[str, ...] | None:
    """Return the images of a split that does not depend on any other; None for other splits."""
    if split.endswith(".txt"):
        path = Path(split).expanduser()
        place = data.root / path if (data.root / path).is_file() else path
        names = read_ids(place, name_of)
        unknown = [f"{name}{nearest(name, data.images)}" for name in names[:1000] if name not in data.images]
        if unknown:
            raise UserError(f"The id list {place} names images that {data.root} does not have:\n{listing(unknown)}")
        return names
    if split == "masks":
        names = tuple(name for name, mask in data.masks.items() if mask.is_file())
        if not names:
            raise UserError(f"{data.root} has no masks, so no split 'masks'. Name their folder with data.mask_folder=.")
        return names
    return tuple(data.images) if split == "all" else None


def _share(names: Sequence[str], share: float) -> tuple[str, ...]:
    if len(names) < 2:
        raise UserError(
            f"There is one image alone ({names[0]}), so none can be held out. Add images, or use data.val_split=all."
        )
    rank = {name: int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64 for name in names}
    lowest, *_, highest = sorted(names, key=rank.__getitem__)
    return tuple(name for name in names if name == lowest or (rank[name] < share and name != highest))


def describe_folder(data: FolderData, train: Sequence[str], val: Sequence[str]) -> str:
    """Return what the data holds, for people: a table of the images of each class, in all and in the two splits."""

    groups = (tuple(data.images), tuple(train), tuple(val))

    def row(title: str, chosen: Callable[[str], bool]) -> tuple[str, ...]:
        return (title, *(str(sum(map(chosen, names))) for names in groups))

    def holds(number: int) -> Callable[[str], bool]:
        return lambda name: number in data.labels[name]

    classes = list(enumerate(data.class_names))[1:]
    rows = [("", "images", "train", "val"), row("all", lambda name: True)]
    rows += [row(title, holds(number)) for number, title in classes[:MOST_LISTED]]
    if len(classes) > MOST_LISTED:
        rows.append((f"... and {len(classes) - MOST_LISTED} more", "", "", ""))
    rows += [
        row("(several of these)", lambda name: len(data.labels[name]) > 1),
        row("(background alone)", lambda name: not data.labels[name]),
        row("(with a mask)", lambda name: data.masks[name].is_file()),
    ]
    width = max(len(cells[0]) for cells in rows)
    lines = [f"  {cells[0]:<{width}}" + "".join(f"{cell:>8}" for cell in cells[1:]) for cells in rows]
    return "\n".join([f"{data.root}, labels from {data.source}:", *lines])


def oddities(data: FolderData, train: Sequence[str], val: Sequence[str]) -> list[str]:
    """Return what may not be as it was meant to be, a message each."""
    found = []
    if data.left_out:
        found.append(f"{len(data.left_out)} images without labels are left out:\n{listing(data.left_out)}")
    trained = {number for name in train for number in data.labels[name]}
    untrained = [title for number, title in enumerate(data.class_names) if number and number not in trained]
    if untrained:
        found.append(f"{len(untrained)} classes have no training image:\n{listing(untrained)}")
    if data.stray_masks:
        found.append(
            f"{len(data.stray_masks)} files among the masks belong to no image (a mask is called as its image, "
            f".png):\n{listing(data.stray_masks)}"
        )
    if not any(data.masks[name].is_file() for name in val):
        hint = (
            " To score those that have one: data.val_split=masks."
            if any(data.masks[name].is_file() for name in data.images)
            else ""
        )
        found.append(f"No validation image has a mask: they are shown, and nothing is scored.{hint}")
    return found
