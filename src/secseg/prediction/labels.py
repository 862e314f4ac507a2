"""Image-level labels that say which classes may be in a photograph: from a cue file or a table."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from secseg.data.cue_store import open_cues
from secseg.errors import UserError, listing, nearest
from secseg.prediction.sources import SUFFIXES

CUE_SUFFIXES = (".safetensors", ".pickle", ".pkl", ".gz")


def read_labels(path: Path, names: Sequence[str], class_names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return the foreground classes of each photograph, sorted.

    Args:
        path: a cue file, ours or the official pickle (its labels are taken), or a table: one photograph a line,
            ``name,label label ...``. The name is the mask's, with or without the photograph's suffix; labels are names
            or numbers of classes; none at all means background alone. A first line of titles is passed over.
        names: of the photographs. Others in the file are passed over.
        class_names: of the network, background first.

    Raises:
        UserError: if the file cannot be read; with all photographs that it lacks; with all labels that are no class.
    """
    if path.suffix.lower() in CUE_SUFFIXES:
        store = open_cues(path)
        labels = {name: store[name].labels for name in names if name in store}
        wrong = [
            f"{name}: class {number}" for name in labels for number in labels[name] if not number < len(class_names)
        ]
        if wrong:
            raise UserError(
                f"The labels in {path} are not of this network, which has classes 0..{len(class_names) - 1}:\n"
                f"{listing(wrong)}"
            )
    else:
        labels = _from_table(path, set(names), class_names)
    missing = [name for name in names if name not in labels]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(names)} photographs have no labels in {path}:\n{listing(missing)}\n"
            "Add them, or predict without labels=."
        )
    return labels


def _from_table(path: Path, names: Collection[str], class_names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    numbers = {name: number for number, name in enumerate(class_names)}
    labels: dict[str, tuple[int, ...]] = {}
    problems = []
    for line, name, words in _rows(path):
        found = [_number(word, numbers) for word in words]
        if line == 1 and name not in names and words and all(number is None for number in found):
            continue  # titles
        for word, number in zip(words, found, strict=True):
            if number is None:
                problems.append(f"line {line}, {name}: {word!r} is no class.{nearest(word, class_names)}")
        if name in labels:
            problems.append(f"line {line}: {name} stands there a second time.")
        labels[name] = tuple(sorted({number for number in found if number}))  # background always may be there
    if problems:
        raise UserError(
            f"The labels in {path} cannot be used:\n{listing(problems)}\n"
            f"Classes are named as the network's, or numbered 0..{len(class_names) - 1}: {', '.join(class_names)}."
        )
    return labels


def _rows(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """Yield line number, name and labels of each line that is not empty."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.reader(file, skipinitialspace=True)
            for cells in table:
                if any(cell.strip() for cell in cells):
                    yield table.line_num, _name(cells[0]), " ".join(cells[1:]).split()
    except FileNotFoundError as error:
        raise UserError(f"There is no file of labels at {path}.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"Cannot read the labels in {path}: {error}.") from error


def _name(cell: str) -> str:
    path = PurePosixPath(cell.strip())
    return str(path.with_suffix("") if path.suffix.lower() in SUFFIXES else path)


def _number(word: str, numbers: Mapping[str, int]) -> int | None:
    if word in numbers:
        return numbers[word]
    return int(word) if word.isdecimal() and int(word) < len(numbers) else None
