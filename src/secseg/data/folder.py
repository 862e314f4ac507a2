"""The user's own data: a folder of images, with image-level labels from a table or from sub-folders. Everything is
checked before anything is computed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from secseg.data.class_spelling import same_names, similar_names
from secseg.data.folder_labels import folder_labels
from secseg.data.images import KINDS, REMARKS, FoundImages, check_image, find_images, mask_file, name_clashes
from secseg.data.label_cells import ANSWERS, NUMBER, WHOLE, TableOptions
from secseg.data.label_entries import BACKGROUND, LabelTable
from secseg.data.label_rows import FORMS
from secseg.data.label_table import LABEL_TITLES, read_table
from secseg.data.labels import CUE_SUFFIXES, Labels, numbered
from secseg.data.walk import not_read_warning
from secseg.utils.errors import UserError, closest, did_you_mean, listing, problem_listing
from secseg.utils.parallel import results_and_problems
from secseg.utils.quoting import shell_override
from secseg.utils.text import count, nfc, part_of

TABLES = ("labels.csv", "labels.json")
SUBFOLDERS = "folders"
IMAGES, MASKS = "images", "masks"
CLASHES = tuple(
    f"{words} to several images each, up to suffixes and upper and lower case; rename or remove all but one"
    for words in ("name belongs", "names belong")
)
MOST_HINTS = 10
"""As many as a listing shows."""
MOST_CLASSES = 254
"""Class numbers are bytes: 0 is the background, 255 is void."""


@dataclass(frozen=True)
class FolderData:
    """A folder whose images and labels fit together.

    Attributes:
        root: the folder.
        images: file of each image, sorted by name. The name is the path below the folder of images, with ``/``, without
            suffix.
        labels: foreground classes of each image.
        class_names: names of the classes, background first.
        masks: path of each image's mask, which may be missing.
        splits: ``train``, ``val`` or ``test`` of each image, if the table has a column ``split``; else empty.
        source: where the labels come from, for messages.
        left_out: images without labels that are left out.
        stray_masks: files in the folder of masks that belong to no image.
        notes: a line for each thing in the table that the user may not have intended.
        not_read: files among the images that look like images of a kind that is not read.
        remarks: for each key of ``REMARKS``, the images for which it holds, if there are any.
    """

    root: Path
    images: dict[str, Path]
    labels: Labels
    class_names: tuple[str, ...]
    masks: dict[str, Path]
    splits: dict[str, str]
    source: str
    left_out: tuple[str, ...] = ()
    stray_masks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    not_read: tuple[Path, ...] = ()
    remarks: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)


def open_folder(
    root: Path,
    images: str | None = None,
    labels: str | None = None,
    mask_folder: str | None = None,
    classes: Sequence[str] | None = None,
    unlabelled: str = "error",
    options: TableOptions | None = None,
) -> FolderData:
    """Find images, labels and masks in a folder, and check that they fit together.

    Args:
        root: the folder. The other paths are relative to it, if they exist there.
        images: folder of the images, with sub-folders; None for ``images`` in the root, or else the root.
        labels: a table (see ``read_table``), or ``folders`` (see ``folder_labels``). None for ``labels.csv`` or
            ``labels.json`` in the root, or else ``folders``.
        mask_folder: folder of masks ``<name>.png``, some of which may be missing; None for ``masks`` in the root.
        classes: names of the foreground classes, number 1 first; None for the order of the columns, or else by name.
        unlabelled: ``error`` or ``skip``: how to treat images without labels.
        options: how to read a table that can be read in two ways.

    Raises:
        UserError: with everything that does not fit.
    """
    if not root.is_dir():
        raise UserError(f"There is no folder {root}. Set data.root to the folder of your images and labels.")
    folder = _place(root, images, "data.images") if images else root / IMAGES if (root / IMAGES).is_dir() else root
    masks = _place(root, mask_folder, "data.mask_folder") if mask_folder else root / MASKS
    found, not_read = _images_in(folder, masks)
    files = dict(sorted(found))
    classes = None if classes is None else tuple(map(nfc, classes))
    table = _table(root, folder, labels, files, classes or (), options)
    names = classes if classes is not None else _classes(table)
    numbers, strange = numbered(table, (BACKGROUND, *names))
    labelled = {name: path for name, path in files.items() if name in numbers}
    data = FolderData(
        root=root,
        images=labelled,
        labels={name: numbers[name] for name in labelled},
        class_names=(BACKGROUND, *names),
        masks={name: mask_file(masks, name) for name in labelled},
        splits={name: table.splits[name] for name in labelled} if table.splits else {},
        source="sub-folders" if table.path == folder else table.source,
        left_out=tuple(name for name in files if name not in numbers),
        stray_masks=_stray_masks(masks, files),
        notes=(*table.notes, *(similar_names(names, table) if classes is None else ())),
        not_read=tuple(not_read),
    )
    return _checked(data, table, _problems(data, found, table, strange, classes is not None, unlabelled))


def _checked(data: FolderData, table: LabelTable, problems: Sequence[str]) -> FolderData:
    """Return ``data`` with remarks, after a look at each image; raise a UserError with all problems."""
    found, unreadable = results_and_problems(check_image, data.images.values())
    if unreadable:
        problems = [*problems, f"{count(len(unreadable), 'image')} cannot be read:\n{problem_listing(unreadable)}"]
    if problems:
        raise UserError(f"The data in {data.root} (labels: {table.path}) cannot be used.\n" + "\n".join(problems))
    remarks = {
        kind: tuple(path for path, kinds in zip(data.images.values(), found, strict=True) if kinds and kind in kinds)
        for kind in REMARKS
    }
    return replace(data, remarks={kind: paths for kind, paths in remarks.items() if paths})


def _place(root: Path, given: str, key: str) -> Path:
    path = Path(given).expanduser()
    places = dict.fromkeys([root / path, path])
    for place in places:
        if place.exists():
            return place
    raise UserError(f"{key}={given}: there is nothing at {' or '.join(map(str, places))}.")


def _images_in(folder: Path, masks: Path) -> FoundImages:
    """Return the images in a folder. The folder of masks may lie below the folder of images."""
    if not folder.is_dir():
        raise UserError(f"data.images={folder} is a file. Name the folder of the images.")
    found = find_images(folder, lambda place: place.resolve() == masks.resolve())
    if not found.pairs:
        others = f" {not_read_warning(found.not_read)}" if found.not_read else ""
        raise UserError(
            f"The folder {folder} holds no image ({KINDS}).{others} Name the folder of the images: data.images=."
        )
    return found


def _stray_masks(masks: Path, names: Collection[str]) -> tuple[str, ...]:
    found = {path for _, path in find_images(masks).pairs} if masks.is_dir() else set()
    strays = found - {mask_file(masks, name) for name in names}
    return tuple(sorted(path.relative_to(masks).as_posix() for path in strays))


def _table(
    root: Path,
    folder: Path,
    labels: str | None,
    files: Collection[str],
    classes: Collection[str],
    options: TableOptions | None,
) -> LabelTable:
    """Return the labels as written in the table, or given by the sub-folders, by the names of the images."""
    if labels is None:
        found = [name for name in TABLES if (root / name).is_file()]
        if len(found) > 1:
            raise UserError(
                f"{root} holds {' and '.join(found)}. Choose one: {shell_override('data.labels', found[0])}"
            )
        labels = found[0] if found else SUBFOLDERS
    if labels == SUBFOLDERS:
        table = folder_labels(folder, files)
        if not table.words:
            raise UserError(
                f"There are no labels in {root}: no {' or '.join(TABLES)}, and the images in {folder} lie in no "
                "sub-folders, one for each class. Name a table with data.labels=<labels.csv or labels.json>."
            )
        return table
    path = _place(root, labels, "data.labels")
    if path.suffix.lower() in CUE_SUFFIXES:
        raise UserError(f"data.labels={labels} is a cue file, and data=folder takes a table: CSV, JSON or .npy.")
    prefix = "" if folder == root or root not in folder.parents else f"{folder.relative_to(root).as_posix()}/"
    return read_table(path, frozenset(files), classes, prefix, options)


def _classes(table: LabelTable) -> tuple[str, ...]:
    """Return the classes in the order of the columns, or else in alphabetical order."""
    if table.columns is not None:
        return tuple(name for name in table.columns if name != BACKGROUND)
    return tuple(sorted({word for words in table.words.values() for word in words} - {BACKGROUND}))


def _section(lines: Sequence[str], one: str, several: str) -> list[str]:
    return [f"{count(len(lines), one, several)}:\n{listing(lines)}"] if lines else []


def _class_problems(names: Sequence[str], table: LabelTable, given: bool) -> list[str]:
    problems = []
    if not names:
        problems.append("There is no class: no image has a label.")
    if len(names) > MOST_CLASSES:
        problems.append(f"There are {len(names)} classes; the maximum is {MOST_CLASSES}.")
    if given and BACKGROUND in names:
        problems.append(f"{BACKGROUND} is always class 0: leave it out of data.classes.")
    problems += same_names(names, table, given)
    odd = [repr(name) for name in names if not name or not name.isprintable() or name != name.strip()]
    if odd:
        problems.append(
            "Names of classes that are empty, or hold line breaks, tabs, outer spaces or invisible characters: "
            f"{', '.join(odd)}."
        )
    return problems if given or table.columns is not None else [*problems, *_not_names(names, table)]


def _not_names(names: Sequence[str], table: LabelTable) -> Iterator[str]:
    """Yield a message if the labels in a table are not names of classes."""

    def place(name: str) -> str:
        return next(table.places[image] for image, words in table.words.items() if name in words)

    numbers = [name for name in names if NUMBER.fullmatch(name)]
    if numbers and len(numbers) == len(names) and all(map(WHOLE.fullmatch, names)):
        yield (
            f"The labels are numbers ({', '.join(names[:10])}), not names. Give the names, number 1 first, with "
            "data.classes=[...]."
        )
    elif table.path.is_dir():
        return  # sub-folders and annotations have any names
    elif numbers:
        yield (
            f"{count(len(numbers), 'label is a number', 'labels are numbers')} ({', '.join(numbers[:10])}; "
            f"{place(numbers[0])}). A number is no name of a class: remove scores and boxes, or list all "
            f"classes with data.classes=[...]. {FORMS}"
        )
    elif names and ANSWERS.issuperset(map(str.casefold, names)):
        yield (
            f"The labels are {', '.join(names)} ({place(names[0])}), not names of classes. Write the name of the class "
            f"as the title of the column, or list the classes with data.classes=[...]. {FORMS}"
        )


def _problems(
    data: FolderData,
    found: Sequence[tuple[str, Path]],
    table: LabelTable,
    strange: Sequence[str],
    given: bool,
    unlabelled: str,
) -> list[str]:
    """Return everything that does not fit; ``given`` says whether the user named the classes."""
    files, names = dict(found), data.class_names[1:]
    clashes = [", ".join(map(str, paths)) for _, paths in sorted(name_clashes(found).items())]
    other = {name: path for path in data.not_read for name in (nfc(path.name), nfc(path.stem))}
    unread = [name for name in table.places if name not in files and name.rpartition("/")[2] in other]
    unknown = [name for name in table.places if name not in files and name not in unread]
    hints = [_near(name, files, data.left_out) for name in unknown[:MOST_HINTS]] + [""] * len(unknown[MOST_HINTS:])
    lines = [f"{name} ({table.places[name]}){hint}" for name, hint in zip(unknown, hints, strict=True)]
    used = {number for numbers in data.labels.values() for number in numbers}
    bare = [f"No image has a label: all {len(data.labels)} are background alone."] if names and not used else []
    unused = [name for number, name in enumerate(names, 1) if given and number not in used]
    return [
        *_section(clashes, *CLASHES),
        *_section(table.problems, "line of the table cannot be read", "lines of the table cannot be read"),
        *([FORMS] if table.problems else []),
        *_class_problems(names, table, given),
        *bare,
        *_section(strange, "label is not a class of data.classes", "labels are not classes of data.classes"),
        *_section(lines, "label belongs to an image that does not exist", "labels belong to images that do not exist"),
        *_section(
            [f"{name} ({table.places[name]})" for name in unread],
            "label belongs to an image that is not read",
            "labels belong to images that are not read",
        ),
        *([not_read_warning(data.not_read)] if unread else []),
        *_unlabelled(data.left_out if unlabelled == "error" else (), files, table),
        *_section(unused, "class of data.classes has no image", "classes of data.classes have no image"),
    ]


def _near(name: str, files: Collection[str], bare: Collection[str]) -> str:
    """Return a hint at an image that may be meant: in other case, in a sub-folder, or with a similar name. An image of
    ``bare``, which has no labels, is the only hint."""
    last = name.rpartition("/")[2].casefold()
    alike = [file for file in files if file.rpartition("/")[2].casefold() == last]
    close = alike[:3] or closest(name, files)
    hint = did_you_mean([file for file in close if file in bare] or close)
    return f".{hint}" if hint else ""


def _unlabelled(bare: Sequence[str], files: Collection[str], table: LabelTable) -> list[str]:
    if not bare:
        return []
    known = table.columns or any(title.casefold() in LABEL_TITLES for title in table.titles or ())
    lines = [f"{name} ({table.unknown[name]})" if name in table.unknown else name for name in bare]
    titles = "" if known or table.titles is None else f" Line 1 was read as titles: {', '.join(table.titles)}."
    number = part_of(len(bare), len(files), "image", "has", "have")
    return [
        f"{number} no labels.{titles} Add labels (an empty list of labels means background alone), or leave such "
        f"images out with data.unlabelled=skip:\n{listing(lines)}"
    ]
