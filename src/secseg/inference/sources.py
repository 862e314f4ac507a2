"""Which photographs ``images=`` means, and what their masks are called."""

from __future__ import annotations

import glob
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from secseg.data.images import KINDS, find_images, is_image_file, name_clashes
from secseg.data.voc import IMAGES, find_data, open_split
from secseg.utils.errors import UserError, listing, nearest


@dataclass(frozen=True)
class Photograph:
    """A photograph and the name of what is made for it.

    Attributes:
        name: path below the output folder, without suffix: ``<name>.png`` is the mask.
        path: the file.
    """

    name: str
    path: Path


@dataclass(frozen=True)
class Photographs:
    """The photographs of a run, by name, and the folder that they come from."""

    folder: Path
    items: tuple[Photograph, ...]


def find_photographs(images: str, root: str | None = None, out: Path | None = None) -> Photographs:
    """Return the photographs that ``images`` means; each has a mask of its own name.

    Args:
        images: without ``root``: a file; a folder, whose masks keep its subfolders; or a glob (``**`` for any
            subfolders), whose masks all go into one folder. With ``root``: the name of a split, or an id list (.txt).
        root: folder in VOC's layout; None where ``images`` is no list.
        out: where masks go. What lies in it is no photograph.

    Raises:
        UserError: if there are none; for a list without ``root``, or one that names absent photographs; if several
            photographs would have one mask, all of them listed; if a mask would take the place of a photograph.
    """
    path = Path(images).expanduser()
    if root is not None:
        folder = find_data(Path(root).expanduser()) / IMAGES
        split = open_split(root, images, require_masks=False)
        pairs = list(zip(split.names, split.images, strict=True))
    elif path.is_dir():
        folder = path
        _refuse_same(folder, out)
        pairs = find_images(path, lambda place: _same(place, out))
        if not pairs:
            raise UserError(f"The folder {path} holds no photograph ({KINDS}).")
    elif path.suffix.lower() == ".txt" and path.is_file():
        raise UserError(f"images={images} is an id list: give the folder that holds its photographs, too, as root=.")
    elif path.is_file():
        folder, pairs = path.parent, [(path.stem, path)]
    elif glob.has_magic(images):
        folder = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
        _refuse_same(folder, out)
        pairs = [(found.stem, found) for found in _matches(path, out)]
    else:
        raise UserError(f"There is nothing at images={images}.{_hint(path)}")
    _refuse_same(folder, out)
    _refuse_clashes(pairs)
    found = Photographs(folder.resolve(), tuple(Photograph(name, file) for name, file in sorted(pairs)))
    _refuse_overwriting(found, out)
    return found


def _matches(pattern: Path, out: Path | None) -> list[Path]:
    paths = [Path(match) for match in glob.glob(str(pattern), recursive=True)]
    if not paths:
        raise UserError(f"Nothing matches images={pattern}.")
    files = [path for path in paths if path.is_file() and not any(_same(parent, out) for parent in path.parents)]
    photographs = [path for path in files if is_image_file(path.name)]
    if not photographs:
        raise UserError(f"None of the {len(files)} files that images={pattern} matches is a photograph ({KINDS}).")
    return photographs


def _same(folder: Path, out: Path | None) -> bool:
    return out is not None and folder.resolve() == out.resolve()


def _hint(path: Path) -> str:
    if not path.parent.is_dir():
        return f" The folder {path.parent} does not exist."
    names = nearest(path.name, [there.name for there in path.parent.iterdir()])
    return names or " Give a file, a folder or a glob; with root=, also the name of a split or an id list."


def _refuse_clashes(pairs: Iterable[tuple[str, Path]]) -> None:
    found = name_clashes(pairs)
    if found:
        lines = [f"{Path(name).name}.png: {', '.join(map(str, paths))}" for name, paths in sorted(found.items())]
        raise UserError(
            f"{len(found)} masks would be those of several photographs each:\n{listing(lines)}\n"
            "Rename photographs, predict them into different out= folders, or, where they lie in different folders, "
            "give the folder above as images=: its subfolders are kept."
        )


def _refuse_same(folder: Path, out: Path | None) -> None:
    if _same(folder, out):
        raise UserError(f"out={out} is the folder of the photographs. Choose another one for the masks.")


def _refuse_overwriting(photographs: Photographs, out: Path | None) -> None:
    files = {item.path.resolve() for item in photographs.items}
    lost = [item.path for item in photographs.items if out and (out / f"{item.name}.png").resolve() in files]
    if lost:
        raise UserError(
            f"Masks in out={out} would take the place of photographs. Choose another folder. Masks of:\n{listing(lost)}"
        )
