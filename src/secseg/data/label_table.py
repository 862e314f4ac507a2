"""Read tables of image-level labels, CSV or JSON, in the forms that users have."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from secseg.data.images import image_name
from secseg.data.label_annotations import read_label_folder
from secseg.data.label_cells import (
    SPACE,
    Answers,
    CellError,
    TableOptions,
    ambiguous_spaces,
    is_list,
    joined_labels,
    labels_in,
)
from secseg.data.label_entries import LabelTable
from secseg.data.label_lists import is_label_list, read_label_list
from secseg.data.label_rows import FORMS, Naming, image_first, read_rows, without_empty_end
from secseg.data.label_vectors import is_array_file, read_vectors
from secseg.data.walk import is_image_file
from secseg.utils.errors import UserError
from secseg.utils.quoting import shell_override
from secseg.utils.text import count, decode, nfc

LABEL_TITLES = ("label", "labels", "class", "classes", "tag", "tags", "category", "categories")
"""Titles of a column that holds names of classes."""
SPLIT_TITLE = "split"
SPLIT_WORDS = {
    **{"train": "train", "training": "train"},
    **{"val": "val", "valid": "val", "validation": "val"},
    **{"test": "test", "testing": "test"},
}
"""Words for the splits, in lower case, in the column ``split`` and as names of folders."""
_LIKE_LABELS = re.compile(rf"(?<![^\W\d_])({'|'.join(LABEL_TITLES)})(?![^\W\d_])", re.IGNORECASE)
"""Titles like ``Finding Labels`` and ``label_2``."""


def read_table(
    path: Path,
    names: Collection[str],
    class_names: Collection[str] = (),
    prefix: str = "",
    options: TableOptions | None = None,
) -> LabelTable:
    """Read a table of labels.

    CSV (UTF-8, or UTF-16 with a byte order mark; separated by commas, semicolons, tabs or ``|``) has a line for each
    image:

    - ``image,labels``: the labels of the image in one cell, separated by ``;``, ``|`` or ``,`` or as
      ``options.separator`` says, or a list as Python or JSON write it. A cell that equals a class of ``class_names`` is
      that class. Spaces separate only numbers and names of ``class_names``. More cells hold more labels. A first line
      of titles is optional. If a column has the title labels (or class, tags, category, ...), only this column holds
      labels.
    - one column for each class, named by the titles, with 1 or 0 (or -1, true, false, yes, no, x, nothing).

    In both, a column with the title ``split`` holds words of ``SPLIT_WORDS``, and a first column that counts the
    lines is left out. JSON is ``{"image": ["label", ...], ...}``. An image is named by its path below the folder of
    images, with or without suffix. A file of NumPy is read by ``read_vectors``, a list of ids and class numbers by
    ``read_label_list``, and a folder by ``read_label_folder``.

    Args:
        path: the file, or a folder of VOC.
        names: names of the images, to distinguish a first line of titles from an image.
        class_names: the classes, if known.
        prefix: path of the folder of images (``images/``), which names in the table may start with.
        options: how to read what can be read in two ways.

    Raises:
        UserError: if the file cannot be read as a table, with the line. Problems of single lines are in ``problems``.
    """

    def naming(cell: str) -> str:
        name = image_name(cell)
        return name if name in names else name.removeprefix(prefix)

    options = options or TableOptions()
    if path.is_dir():
        return read_label_folder(path, naming, names, class_names, options)
    data = _read_bytes(path)
    if is_array_file(data):
        table = LabelTable(path, form="vectors of 0 and 1")
        for name, classes in read_vectors(path, data, naming, names, class_names).items():
            table.add(name, f"entry {name!r}", classes)
        return table
    text = _text(path, data)
    if path.suffix.lower() == ".json":
        return _read_json(path, text, naming, class_names)
    if is_label_list(text, naming, names):
        return read_label_list(path, text, naming, names, class_names, options)
    return _read_csv(path, text, naming, names, class_names, options)


def _read_bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"There is no file of labels at {path}.") from error
    except OSError as error:
        raise UserError(f"Cannot read the labels in {path}: {error.strerror}.") from error
    if data.startswith(b"PK\x03\x04"):
        raise UserError(f"Cannot read the labels in {path}: it is a ZIP file (.xlsx, .npz). Save a table as CSV.")
    return data


def _text(path: Path, data: bytes) -> str:
    try:
        return decode(data)
    except UserError as error:
        raise UserError(f"Cannot read the labels in {path}: {error}") from error


def _read_json(path: Path, text: str, naming: Naming, class_names: Collection[str]) -> LabelTable:
    table = LabelTable(path)
    try:
        entries: Any = json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise UserError(f"Cannot read the labels in {path}: {error}.") from error
    if not isinstance(entries, _Pairs):
        raise UserError(f'{path} does not have the form {{"image": ["label", ...], ...}}: it holds no names of images.')
    for image, labels in entries:
        given = isinstance(labels, list) and not isinstance(labels, _Pairs)
        if not given or not all(isinstance(label, str) or type(label) is int for label in labels):
            table.problems.append(f'{image}: give its labels as a list, ["label", ...], and [] for background alone.')
            labels = []
        words = [nfc(str(label).strip()) for label in labels]
        table.add_written(naming(nfc(image)), f"entry {image!r}", words, class_names, is_list=True)
    return table


class _Pairs(list[tuple[str, Any]]):
    """The entries of a JSON object. A dict would hide a name that is listed twice."""


def _read_csv(
    path: Path, text: str, naming: Naming, names: Collection[str], class_names: Collection[str], options: TableOptions
) -> LabelTable:
    table = LabelTable(path, first_class=1 if options.first_class is None else options.first_class)
    rows, is_counted = image_first(read_rows(path, text, naming, names), naming, names)
    if is_counted:
        table.notes.append(f"{path}: the first column counts the lines. It is not read.")
    width = len(rows[0][1])
    if naming(rows[0][1][0]) not in names and not is_image_file(rows[0][1][0]):
        table.titles, rows = without_empty_end(rows[0][1], rows[1:])
    named = [(line, naming(cells[0]), cells) for line, cells in rows]
    split = _split_column([title.casefold() for title in table.titles or ()], [cells for _, cells in rows])
    cells_of_classes = [cell for _, cells in rows for at, cell in enumerate(cells) if at not in (0, split)]
    answers = Answers(cells_of_classes, options.difficult)
    if answers.fit and table.titles is None and {len(cells) for _, cells in rows} - {1, 2} == {width}:
        raise UserError(
            f"{path} has a column for each class, but no titles. Add a first line: image, then the class names."
        )
    columns = [column for column in range(1, len(table.titles or ())) if column != split]
    labels = _label_columns(table, columns, class_names, cells_of_classes, answers)
    if labels is None:
        _by_column(table, named, columns, answers)
    else:
        _note_unread(table, [cells for _, cells in rows], [at for at in columns if at not in labels])
        _by_cell(table, named, labels, len(table.titles or "1"), class_names, options.separator)
    if split is not None:
        _read_splits(table, named, split)
    return table


def _label_columns(
    table: LabelTable, columns: Sequence[int], class_names: Collection[str], cells: Sequence[str], answers: Answers
) -> Sequence[int] | None:
    """Return the columns that hold labels; None if each of ``columns`` is a class.

    Raises:
        UserError: if neither the titles nor the cells say so.
    """
    titles = table.titles or ()
    labels = [column for column in columns if titles[column].casefold() in LABEL_TITLES]
    if labels or not titles:
        return labels
    if any(cells) and set(class_names).issuperset(cell for cell in cells if cell):
        return columns
    if answers.fit:
        return None
    like = [column for column in columns if _LIKE_LABELS.search(titles[column])]
    if like or len(columns) < 2:
        return like or columns
    if answers.numbers:
        return None  # scores, which are refused by line
    examples = ", ".join(dict.fromkeys(repr(cell[:80]) for cell in cells if cell))[:200]
    raise UserError(
        f"The labels in {table.path} cannot be read: no column has the title labels, and the columns "
        f"{', '.join(titles[column] for column in columns[:10])} do not hold words for yes or no: {examples}.\n{FORMS}"
    )


def _read_splits(table: LabelTable, rows: Sequence[tuple[int, str, list[str]]], column: int) -> None:
    for line, name, cells in rows:
        word = cells[column] if column < len(cells) else ""
        if word.casefold() not in SPLIT_WORDS:
            table.problems.append(f"line {line}, {SPLIT_TITLE}: {word!r} is not one of {', '.join(SPLIT_WORDS)}.")
        table.splits[name] = SPLIT_WORDS.get(word.casefold(), word)


def _split_column(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> int | None:
    if SPLIT_TITLE not in titles[1:]:
        return None
    column = titles.index(SPLIT_TITLE, 1)
    is_class = all(cells[column : column + 1] in (["0"], ["1"]) for cells in rows)
    return None if is_class else column


def _by_column(
    table: LabelTable, rows: Sequence[tuple[int, str, list[str]]], columns: Sequence[int], answers: Answers
) -> None:
    titles = table.titles or ()
    names = [titles[at] for at in columns]
    table.columns = tuple(names)
    repeated = sorted(name for name, count in Counter(names).items() if name and count > 1)
    table.problems += [f"line 1: the column {name!r} is listed twice." for name in repeated]
    table.problems += [f"line 1: column {at + 1} has no title." for at in columns if not titles[at]]
    if answers.problem is not None:
        raise UserError(f"The labels in {table.path} cannot be read: {answers.problem}.")
    for line, image, cells in rows:
        if len(cells) != len(titles):
            table.problems.append(
                f"line {line} has {len(cells)} cells, but there are {len(titles)} titles ({', '.join(titles)[:60]})."
            )
        found = []
        for at, name in zip(columns, names, strict=True):
            try:
                found += [name] if answers[cells[at] if at < len(cells) else ""] else []
            except CellError as error:
                table.problems.append(f"line {line}, {name}: {error}")
        table.add(image, f"line {line}", found)


def _by_cell(
    table: LabelTable,
    rows: Sequence[tuple[int, str, list[str]]],
    kept: Sequence[int],
    titled: int,
    class_names: Collection[str],
    separator: str | None,
) -> None:
    plain = []
    separated = titled > 1 or any(len(cells) > 1 for _, _, cells in rows)
    for line, image, cells in rows:
        if len(cells) == 1 and separated:
            table.add(image, f"line {line} has no separator after the image", None)
            continue
        chosen = [cell for at, cell in enumerate(cells) if at in kept or at >= titled]
        try:
            words = labels_in(chosen, class_names, separator)
        except CellError as error:
            table.problems.append(f"line {line}, {image}: {error}")
            words = []
        table.add_written(image, f"line {line}", words, class_names, is_list(chosen))
        plain += [] if is_list(chosen) else [words]
    if not class_names and separator is None:
        _check_joined(table, plain)


def _check_joined(table: LabelTable, labels: Sequence[Sequence[str]]) -> None:
    """Report labels that may be several labels."""
    joined = joined_labels(labels)
    if joined:
        name, joint = next(iter(joined.items()))
        separator = joint if any(map(str.isalpha, joint)) else joint.strip() or SPACE
        words = f"If {joint!r} separates labels, set {shell_override('data.label_separator', separator)}"
        table.problems.append(
            f"{count(len(joined), 'label consists', 'labels consist')} of other labels: "
            f"{', '.join(map(repr, list(joined)[:3]))}. {words}, or write {name.replace(joint, ';', 1)!r}. If not, "
            "list all classes: data.classes=[...]."
        )
        return
    may = ambiguous_spaces(labels)
    if may and not any(len(words) > 1 for words in labels):
        table.notes.append(
            f"{table.path}: {count(len(may), 'label has', 'labels have')} spaces ({', '.join(map(repr, may[:3]))}). "
            "Each is one class. If spaces separate labels, set data.label_separator=space."
        )


def _note_unread(table: LabelTable, rows: Sequence[Sequence[str]], columns: Sequence[int]) -> None:
    """Report columns next to the labels that are not read. One of them may hold the split."""
    titles = table.titles or ()
    if columns:
        table.notes.append(
            f"{table.path}: only labels and splits are read, not the columns "
            f"{', '.join(repr(titles[at]) for at in columns[:10])}{', ...' if len(columns) > 10 else ''}."
        )
    for at in columns:
        words = {cells[at].casefold() for cells in rows if at < len(cells)}
        if words and words <= SPLIT_WORDS.keys():
            table.notes.append(
                f"{table.path}: the column {titles[at]!r} holds {', '.join(sorted(words))}. If it is the split of the "
                f"images, give it the title {SPLIT_TITLE}."
            )
