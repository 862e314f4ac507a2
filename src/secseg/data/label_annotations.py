"""Read the labels of VOC's own files: the XML annotations of the objects, and the lists of each class."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from xml.parsers import expat

from secseg.data.label_cells import TableOptions
from secseg.data.label_entries import BACKGROUND, LabelTable
from secseg.data.label_rows import Naming
from secseg.utils.errors import UserError, listing, some
from secseg.utils.parallel import results_and_problems
from secseg.utils.text import count, nfc, read_text

LISTS = ("trainval", "train", "val", "test")
"""Ends of the names of VOC's lists: ``cat_trainval.txt``."""
LARGEST = 4 * 1024**2
"""Most bytes of an annotation; VOC's have at most 25 KB."""
_VALUES = {"1": True, "0": None, "-1": False}
_Found = Mapping[str, Mapping[str, bool]]
"""The classes of each image, and whether an object of the class is not difficult."""


def read_annotation(path: Path) -> dict[str, bool]:
    """Return the classes in an annotation of VOC (``annotation/object/name``), and whether one of the objects of the
    class is not difficult (``object/difficult`` is not 1).

    The parser expands no entities: a file that declares a document type is refused, as VOC's files have none.

    Raises:
        UserError: if the file is no such annotation, is damaged, or is larger than ``LARGEST``.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise UserError(f"{path} has more than {LARGEST:,} bytes, so it is no annotation of VOC.")
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}.") from error
    reader = _Reader()
    try:
        reader.parse(data)
    except UserError as error:
        raise UserError(f"{path} {error}") from error
    except (expat.ExpatError, LookupError, ValueError) as error:  # the last two: unknown encodings
        raise UserError(f"{path} is damaged or not XML: {error}.") from error
    found: dict[str, bool] = {}
    for name, difficult in reader.objects:
        if not name:
            raise UserError(f"{path} has an object without a name.")
        if difficult not in ("", "0", "1"):
            raise UserError(f"{path}: {name} has difficult={difficult[:20]!r}, which is neither 0 nor 1.")
        found[name] = found.get(name, False) or difficult != "1"
    return found


class _Reader:
    """Collects name and ``difficult`` of each object. Parts of objects (``object/part``) have names, too: not read."""

    def __init__(self) -> None:
        self.objects: list[list[str]] = []
        self._path: list[str] = []
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.StartDoctypeDeclHandler = self._refuse

    def parse(self, data: bytes) -> None:
        self._parser.Parse(data, True)
        self.objects = [[nfc(text.strip()) for text in entry] for entry in self.objects]

    def _start(self, tag: str, _: object) -> None:
        if not self._path and tag != "annotation":
            raise UserError(f"is no annotation of VOC: its root is {tag[:40]!r}, not 'annotation'.")
        self._path.append(tag)
        if self._path == ["annotation", "object"]:
            self.objects.append(["", ""])

    def _end(self, _: str) -> None:
        self._path.pop()

    def _text(self, text: str) -> None:
        if self._path[:-1] == ["annotation", "object"] and self._path[-1] in ("name", "difficult"):
            self.objects[-1][self._path[-1] == "difficult"] += text

    def _refuse(self, *_: object) -> None:
        raise UserError(
            "declares a document type, which VOC's annotations do not have. It may be an attempt to fill the memory or "
            "to read other files; nothing was expanded."
        )


def read_label_folder(
    folder: Path, naming: Naming, names: Collection[str], class_names: Collection[str], options: TableOptions
) -> LabelTable:
    """Read a folder of VOC: ``Annotations`` (``<image>.xml``), or ``ImageSets/Main`` (``<class>_trainval.txt``, ...).

    Args:
        folder: the folder.
        naming: maps an id in a list to the name of an image.
        names: names of the images. Only their annotations are read.
        class_names: the classes; empty if they are not known.
        options: ``difficult`` says whether a class is present if all its objects are difficult.

    Raises:
        UserError: if the folder holds neither, with all files that cannot be read, and if classes have only difficult
            objects in an image and ``difficult`` is None.
    """
    lists = {ending: path for ending in LISTS for path in folder.glob(f"*_{ending}.txt")}
    if lists:
        kind, every = "VOC's lists of each class", _class_lists(folder, naming, class_names)
        found = {name: entry for name, entry in every.items() if name in names} or every
    elif any(folder.glob("*.xml")):
        paths = [path for name in sorted(names) if (path := folder / f"{name}.xml").is_file()]
        read, problems = results_and_problems(read_annotation, paths)
        if problems:
            raise UserError(f"{count(len(problems), 'annotation')} in {folder} cannot be used:\n{listing(problems)}")
        by_path = zip(paths, read, strict=True)
        found = {
            nfc(path.relative_to(folder).with_suffix("").as_posix()): one for path, one in by_path if one is not None
        }
        kind = "VOC's XML annotations"
    else:
        raise UserError(
            f"{folder} holds no labels: neither VOC's annotations (*.xml, the folder Annotations) nor its lists "
            "(<class>_trainval.txt, the folder ImageSets/Main). Name one of these folders, or a file."
        )
    return _as_table(folder, kind, found, options.difficult)


def _as_table(folder: Path, kind: str, found: _Found, difficult: str | None) -> LabelTable:
    unsure = [
        f"{name}: {', '.join(classes)}"
        for name, entry in found.items()
        if (classes := [label for label, plain in entry.items() if not plain])
    ]
    if unsure and difficult is None:
        raise UserError(
            f"In {count(len(unsure), 'image')}, classes in {folder} have only objects that VOC calls difficult:\n"
            f"{listing(unsure)}\nSay whether these classes count: data.difficult=present (as in the labels of PSA and "
            "IRN) or data.difficult=absent."
        )
    table = LabelTable(folder, form=f"{kind}, difficult objects {difficult}" if unsure else kind)
    for name, entry in found.items():
        table.add(name, f"image {name}", [label for label, plain in entry.items() if plain or difficult == "present"])
    return table


def _class_lists(folder: Path, naming: Naming, class_names: Collection[str]) -> _Found:
    """Return the classes of the images in ``<class>_<split>.txt``; False for those that are only difficult."""
    files: dict[str, list[Path]] = {}
    for ending in LISTS:
        for path in sorted(folder.glob(f"*_{ending}.txt")):
            files.setdefault(nfc(path.name.removesuffix(f"_{ending}.txt")), []).append(path)
    classes = [name for name in class_names if name != BACKGROUND] or list(files)
    if missing := [name for name in classes if name not in files]:
        raise UserError(f"{folder} has no list of {some(missing)} ({missing[0]}_trainval.txt). Name a complete folder.")
    found: dict[str, dict[str, bool]] = {}
    problems: list[str] = []
    for label in classes:
        seen: dict[str, bool | None] = {}
        for path in files[label]:
            problems += _read_class(path, naming, seen)
        for name, value in seen.items():
            entry = found.setdefault(name, {})
            if value is not False:
                entry[label] = bool(value)
    if problems:
        raise UserError(f"The lists of classes in {folder} cannot be used:\n{listing(problems)}")
    return found


def _read_class(path: Path, naming: Naming, seen: dict[str, bool | None]) -> Sequence[str]:
    """Add the value of each image in a list, and return the problems of its lines."""
    try:
        lines = read_text(path).splitlines()
    except (OSError, UserError) as error:
        return [f"{path.name}: {error}"]
    problems = []
    for at, line in enumerate(lines, 1):
        match line.split():
            case []:
                continue
            case [word, value] if value in _VALUES:
                name, present = naming(word), _VALUES[value]
                if seen.setdefault(name, present) != present:
                    problems.append(f"{path.name}, line {at}: {name} has another value in another list.")
            case _:
                problems.append(f"{path.name}, line {at}: {line.strip()[:60]!r} is not an image and 1, 0 or -1.")
    return problems
