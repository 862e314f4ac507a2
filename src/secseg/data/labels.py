"""Image-level labels, the foreground classes of each image: from a cue file, a table, files of VOC, or masks."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from secseg.data.classes import VOID
from secseg.data.cues import open_cues
from secseg.data.label_cells import WHOLE, TableOptions
from secseg.data.label_entries import LabelTable
from secseg.data.label_table import read_table
from secseg.data.splits import ImageSet
from secseg.utils.errors import UserError, listing, nearest
from secseg.utils.parallel import results_and_problems
from secseg.utils.text import count, part_of

log = logging.getLogger(__name__)

CUE_SUFFIXES = (".safetensors", ".pickle", ".pkl", ".gz")

Labels = dict[str, tuple[int, ...]]
"""The foreground class numbers of each image, sorted; an empty tuple means background alone."""


class FoundLabels(NamedTuple):
    """Labels, and the name of their source with the form that it has, for messages and results."""

    labels: Labels
    source: str


def read_labels(
    path: Path, names: Sequence[str], class_names: Sequence[str], options: TableOptions | None = None
) -> Labels:
    """Return the foreground classes of each image, sorted; arguments and errors as for ``find_labels``."""
    return find_labels(path, names, class_names, options).labels


def find_labels(
    path: Path, names: Sequence[str], class_names: Sequence[str], options: TableOptions | None = None
) -> FoundLabels:
    """Return the foreground classes of each image, sorted, and their source.

    Args:
        path: a cue file, ours or the official pickle, whose labels are used; or a table, a list, vectors or a folder of
            VOC (see ``read_table``) whose labels are names or numbers of classes.
        names: names of the images. Other images in the file are ignored.
        class_names: names of the classes, background first.
        options: how to read a file that can be read in two ways.

    Raises:
        UserError: if the file cannot be read; with all images without labels; with all labels that are not a class; if
            no image of the file has a label.
    """
    unknown: dict[str, str] = {}
    if path.suffix.lower() in CUE_SUFFIXES:
        store, source = open_cues(path), f"{path.name} (labels of a cue file)"
        labels = {name: store[name].labels for name in names if name in store}
        wrong = [
            f"{name}: class {number}" for name in labels for number in labels[name] if not number < len(class_names)
        ]
        if wrong:
            raise UserError(f"The labels in {path} have classes outside 0..{len(class_names) - 1}:\n{listing(wrong)}")
    else:
        table = read_table(path, frozenset(names), class_names, options=options)
        labels, source = _of_table(table, class_names), table.source
        unknown = {name: f"{name} ({place})" for name, place in table.unknown.items()}
        if table.form:
            log.info("labels: %s", source)
    missing = [unknown.get(name, name) for name in names if name not in labels]
    if missing:
        others = "" if set(names) & set(labels) else f"The file lists other images: {', '.join(list(labels)[:3])}. "
        raise UserError(
            f"{part_of(len(missing), len(names), 'image', 'has', 'have')} no labels in {path}:\n{listing(missing)}\n"
            f"{others if labels else ''}Add them, or name another file."
        )
    return FoundLabels({name: labels[name] for name in names}, source)


def _of_table(table: LabelTable, class_names: Sequence[str]) -> Labels:
    labels, problems = numbered(table, class_names)
    for note in table.notes:
        log.warning("%s", note)
    problems += table.problems
    if problems:
        first = 0 if table.first_class else 1
        raise UserError(
            f"The labels in {table.path} cannot be used:\n{listing(problems)}\n"
            f"Give classes by name, or as numbers 0..{len(class_names) - 1 - first}: {', '.join(class_names[first:])}."
        )
    if labels and not any(labels.values()):
        raise UserError(
            f"No image in {table.path} has a label, so it is a list of images, or all show background "
            "alone. Name a file of labels."
        )
    return labels


def numbered(table: LabelTable, class_names: Sequence[str]) -> tuple[Labels, list[str]]:
    """Return the class numbers of each image of a table, and a message for each word that is not a class.

    A word is the name of a class or, if no class has that name, its number, where ``table.first_class`` is the first
    class without background. Background is left out.
    """
    numbers = {name: number for number, name in enumerate(class_names)}
    shift = 1 - table.first_class
    labels: Labels = {}
    problems: list[str] = []
    for name, words in table.words.items():
        found = [_number(word, numbers, shift) for word in words]
        for word, number in zip(words, found, strict=True):
            if number is None:
                near = _near(word, class_names) if len(problems) < 10 else ""  # a listing shows ten
                problems.append(f"{table.places[name]}, {name}: {word[:80]!r} is not a class.{near}")
        labels[name] = tuple(sorted({number for number in found if number}))
    return labels, problems


def class_numbers(labels: Iterable[str | int], class_names: Sequence[str]) -> tuple[int, ...]:
    """Return the numbers of classes that are given by name or number, sorted, without the background.

    Raises:
        UserError: with all labels that are not a class.
    """
    numbers = {name: number for number, name in enumerate(class_names)}
    found = {str(label): _number(str(label), numbers) for label in labels}
    wrong = [
        f"{word[:80]!r} is not a class.{_near(word, class_names)}" for word, number in found.items() if number is None
    ]
    if wrong:
        raise UserError("\n".join([*wrong, f"The classes are {', '.join(class_names)}."]))
    return tuple(sorted({number for number in found.values() if number}))


def labels_in_masks(images: ImageSet) -> Labels:
    """Return the foreground classes in the mask of each image.

    Raises:
        UserError: with all masks that are missing or cannot be read.
    """
    if images.masks is None:
        raise UserError(f"{images.title} has no masks to take labels from. Name a cue file or a table: data.labels=.")

    def classes(path: Path) -> tuple[int, ...]:
        return tuple(np.setdiff1d(images.read_mask(path), (0, VOID)).tolist())

    found, problems = results_and_problems(classes, images.masks)
    if problems:
        raise UserError(
            f"{count(len(problems), 'mask')} of {images.title} cannot be read for labels:\n{listing(problems)}"
        )
    return {name: labels for name, labels in zip(images.names, found, strict=True) if labels is not None}


def _near(word: str, class_names: Sequence[str]) -> str:
    folded = [name for name in class_names if name.casefold() == word.casefold()]
    return f" Did you mean {folded[0]!r}?" if folded else nearest(word, class_names)


def _number(word: str, numbers: Mapping[str, int], shift: int = 0) -> int | None:
    """Return the number of a class by its name or by its number, to which ``shift`` is added; None for other words."""
    if word in numbers:
        return numbers[word]
    number = int(float(word)) + shift if WHOLE.fullmatch(word) and len(word) < 10 else len(numbers)
    return number if number < len(numbers) else None
