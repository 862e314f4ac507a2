"""Find the images that ``images=`` names, and name their masks."""

from __future__ import annotations

import glob
import itertools
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from secseg.data.images import KINDS, find_images, name_clashes
from secseg.data.voc import IMAGES, find_data, open_split
from secseg.data.walk import is_image_file, is_other_image, is_system_folder, not_read_warning
from secseg.utils.errors import UserError, listing
from secseg.utils.files import neighbours
from secseg.utils.text import count, nfc

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InputImage:
    """An image, and the path of its files below the output folder, without suffix: ``<name>.png`` is the mask."""

    name: str
    path: Path


@dataclass(frozen=True)
class InputImages:
    """The images of a run, sorted by name, and their folder."""

    folder: Path
    items: tuple[InputImage, ...]


def find_photographs(images: str, root: str | None = None, out: Path | None = None) -> InputImages:
    """Return the images that ``images`` names. Each image has its own mask.

    Args:
        images: without ``root``: a file; a folder, whose subfolders are kept for the masks; or a glob (``**`` for any
            subfolders), whose masks all go into one folder. With ``root``: the name of a split, or an id list (.txt).
        root: folder in VOC's layout; None if ``images`` is not a list.
        out: folder of the masks. Files in it are not images.

    Raises:
        UserError: if there are no images; for a list without ``root``, or a list of missing images; with all images
            that would have the same mask; if a mask would overwrite an image.
    """
    path = Path(images).expanduser()
    if root is not None:
        folder = find_data(Path(root).expanduser()) / IMAGES
        split = open_split(root, images, require_masks=False)
        pairs = list(zip(split.names, split.images, strict=True))
    elif path.is_dir():
        folder = path
        _refuse_same(folder, out)
        pairs, not_read = find_images(path, lambda place: _is_same(place, out))
        others = f" {not_read_warning(not_read)}" if not_read else ""
        if not pairs:
            raise UserError(f"The folder {path} holds no image ({KINDS}).{others}")
        if others:
            log.warning("%s", not_read_warning(not_read))
    elif path.suffix.lower() == ".txt" and path.is_file():
        raise UserError(f"images={images} is an id list: give the folder of its images, too, as root=.")
    elif path.is_file():
        folder, pairs = path.parent, [(nfc(path.stem), path)]
    elif glob.has_magic(images):
        folder = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
        _refuse_same(folder, out)
        pairs = [(nfc(found.stem), found) for found in _matches(path, folder, out)]
    else:
        raise UserError(f"There is nothing at images={images}.{_hint(path)}")
    _refuse_same(folder, out)
    _refuse_clashes(pairs)
    found = InputImages(folder.resolve(), tuple(InputImage(name, file) for name, file in sorted(pairs)))
    _refuse_overwriting(found, out)
    return found


def _matches(pattern: Path, folder: Path, out: Path | None) -> list[Path]:
    """Return the images below ``folder`` that a glob matches, without thumbnails of the system."""
    paths = [Path(match) for match in glob.glob(str(pattern), recursive=True)]
    if not paths:
        raise UserError(f"Nothing matches images={pattern}.")
    files = [path for path in paths if path.is_file() and not any(_is_same(parent, out) for parent in path.parents)]
    files = [path for path in files if not any(map(is_system_folder, path.relative_to(folder).parts[:-1]))]
    images = [path for path in files if is_image_file(path.name)]
    not_read = [path for path in files if is_other_image(path.name)]
    if not images:
        others = f" {not_read_warning(not_read)}" if not_read else ""
        raise UserError(f"None of the {len(files)} files that images={pattern} matches is an image ({KINDS}).{others}")
    if not_read:
        log.warning("%s", not_read_warning(not_read))
    return images


def _is_same(folder: Path, out: Path | None) -> bool:
    return out is not None and folder.resolve() == out.resolve()


def _hint(path: Path) -> str:
    return neighbours(path) or " Give a file, a folder or a glob; with root=, also the name of a split or an id list."


def _refuse_clashes(pairs: Iterable[tuple[str, Path]]) -> None:
    found = name_clashes(pairs)
    if found:
        lines = [f"{Path(name).name}.png: {', '.join(map(str, paths))}" for name, paths in sorted(found.items())]
        raise UserError(
            f"{count(len(found), 'mask')} would belong to several images each:\n{listing(lines)}\n"
            "Rename images, predict them into different out= folders, or, if they lie in different folders, give the "
            "folder above as images=: its subfolders are kept. If some are not images to predict, give a glob: "
            "'images=\"<folder>/*.jpg\"'."
        )


def _refuse_same(folder: Path, out: Path | None) -> None:
    if _is_same(folder, out):
        raise UserError(f"out={out} is the folder of the images. Choose another folder for the masks.")


def _refuse_overwriting(images: InputImages, out: Path | None) -> None:
    files = {item.path.resolve() for item in images.items}
    lost = [item.path for item in images.items if out and (out / f"{item.name}.png").resolve() in files]
    if lost:
        raise UserError(f"Masks in out={out} would overwrite images. Choose another folder. Masks of:\n{listing(lost)}")
