"""The archive of masks that the PASCAL VOC evaluation server takes: written, read back, and only then there."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from secseg.data.classes import VOC_CLASSES, voc_palette
from secseg.data.images import image_size
from secseg.utils.errors import UserError, listing
from secseg.utils.files import atomic_write

FOLDER = PurePosixPath("results/VOC2012/Segmentation/comp6_test_cls")
"""Folder of the masks in the archive."""


def write_archive(masks_folder: Path, ids: Sequence[str], photographs: Sequence[Path], archive_path: Path) -> None:
    """Write ``<id>.png`` of each id into a tar archive, check that, and only then give it its name.

    The archive holds the masks as they are, sorted, without times and owners: equal masks make equal bytes. Other masks
    in the folder stay out.

    Args:
        masks_folder: holds the masks.
        ids: ids of the split.
        photographs: their photographs, in the same order.
        archive_path: the ``.tar`` to write.

    Raises:
        UserError: with every mask that is missing or not as the server wants it; the archive is not written then.
    """
    missing = [name for name in ids if not (masks_folder / f"{name}.png").is_file()]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(ids)} masks are missing in {masks_folder}, so there is no archive:\n"
            f"{listing(missing, len(missing))}\nPredict them first."
        )
    with atomic_write(archive_path) as temporary:
        with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
            for name in sorted(ids):
                content = (masks_folder / f"{name}.png").read_bytes()
                member = tarfile.TarInfo(str(FOLDER / f"{name}.png"))
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        try:
            check_archive(temporary, ids, photographs)
        except UserError as error:
            raise UserError(f"No archive is written from {masks_folder}. {error}") from error


def check_archive(archive_path: Path, ids: Sequence[str], photographs: Sequence[Path]) -> None:
    """Make sure that an archive holds the mask of each id and nothing else, each a palette PNG with VOC's colours, of
    its photograph's size, and of the values 0..20.

    Raises:
        UserError: with every mask that is missing, is too many, or is not like that; if the archive cannot be read.
    """
    places = {str(FOLDER / f"{name}.png"): photograph for name, photograph in zip(ids, photographs, strict=True)}
    problems = []
    try:
        with tarfile.open(archive_path) as tar:
            members = [member for member in tar.getmembers() if not member.isdir()]
            count = Counter(member.name for member in members)
            problems += [f"{place}: missing" for place in places if place not in count]
            problems += [f"{place}: there {times} times" for place, times in count.items() if times > 1]
            for member in members:
                content = tar.extractfile(member) if member.isreg() and member.name in places else None
                wrong = ["no mask of the list"] if content is None else _faults(content.read(), places[member.name])
                problems += [f"{member.name}: {fault}" for fault in wrong]
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"The archive {archive_path} cannot be read ({error}). Write it again.") from error
    if problems:
        raise UserError(
            f"{len(problems)} faults would make the server refuse the archive:\n{listing(problems, len(problems))}"
        )


def _faults(png: bytes, photograph: Path) -> Iterator[str]:
    try:
        image = Image.open(io.BytesIO(png), formats=["PNG"])
        image.load()
    except Exception as error:  # Pillow raises whatever the damaged bytes lead to
        yield f"not a whole PNG ({error})"
        return
    if image.mode != "P":
        yield f"{image.mode} pixels, not a palette"
        return
    if image.getpalette("RGB") != voc_palette().reshape(-1).tolist():
        yield "a palette that is not VOC's"
    height, width = image_size(photograph)
    if image.size != (width, height):
        yield f"{image.width} x {image.height} pixels, its photograph {width} x {height}"
    strange = [int(value) for value in np.unique(np.asarray(image)) if value >= len(VOC_CLASSES)]
    if strange:
        yield f"values {', '.join(map(str, strange))}, which are no classes (0..{len(VOC_CLASSES) - 1})"
