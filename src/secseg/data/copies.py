"""Find images that are in a data set several times, by the bytes of their files. Links count as copies, too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from secseg.data.labels import Labels
from secseg.utils.errors import listing
from secseg.utils.files import sha256
from secseg.utils.text import count

HEAD = 1 << 16
"""Bytes at the start of a file that are compared before whole files are."""


def find_copies(images: Mapping[str, Path]) -> list[tuple[str, ...]]:
    """Return the names of the images in each group of equal files. Only files of equal size and start are read whole.

    Raises:
        OSError: if a file cannot be read.
    """
    groups: Iterable[list[str]] = [list(images)]
    for key in (_size, _head, sha256):
        groups = [part for group in groups for part in _parts(group, images, key)]
    return [tuple(group) for group in groups]


def copy_warnings(
    images: Mapping[str, Path], labels: Labels, train: Collection[str], val: Collection[str]
) -> list[str]:
    """Return a warning if copies have different labels, and one if copies of training images are held out.

    Args:
        images: file of each image.
        labels: classes of each image.
        train, val: names of the images of the two splits.
    """
    trained, held_out = set(train), set(val) - set(train)
    groups = find_copies({name: path for name, path in images.items() if name in trained or name in held_out})
    differing = [group for group in groups if len({labels[name] for name in group}) > 1]
    leaking = [group for group in groups if not held_out.isdisjoint(group) and not trained.isdisjoint(group)]
    warnings = []
    if differing:
        warnings.append(
            f"{count(len(differing), 'image is', 'images are')} in the data several times with different labels. "
            "Training takes a class that one copy lacks for absent. Keep one copy of each image, and give it all its "
            f"labels in a table:\n{listing([', '.join(group) for group in differing])}"
        )
    if leaking:
        warnings.append(
            f"{count(len(leaking), 'image is', 'images are')} in both splits, under different names. The scores say "
            f"little about new images. Remove the copies:\n{listing([', '.join(group) for group in leaking])}"
        )
    return warnings


def _parts(group: list[str], images: Mapping[str, Path], key: Callable[[Path], object]) -> list[list[str]]:
    parts = defaultdict(list)
    for name in group:
        parts[key(images[name])].append(name)
    return [part for part in parts.values() if len(part) > 1]


def _size(path: Path) -> int:
    return path.stat().st_size


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)
