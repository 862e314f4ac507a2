"""Write the archive of masks for the PASCAL VOC evaluation server. It is read back and checked before it is
published."""

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


def write_archive(masks_folder: Path, ids: Sequence[str], images: Sequence[Path], archive_path: Path) -> None:
    """Write ``<id>.png`` of each id into a tar archive, check it, and then give it its name.

    The archive holds the files of the masks, sorted, without times and owners: equal masks give equal bytes. Other
        masks in the folder are left out.

    Args:
        masks_folder: folder of the masks.
        ids: ids of the split.
        images: image files, in the same order.
        archive_path: path of the ``.tar``.

    Raises:
        UserError: with every mask that is missing or that the server would refuse. Then no archive is written.
    """
    missing = [name for name in ids if not (masks_folder / f"{name}.png").is_file()]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(ids)} masks are missing in {masks_folder}, so no archive is written:\n"
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
            check_archive(temporary, ids, images)
        except UserError as error:
            raise UserError(f"No archive is written from {masks_folder}. {error}") from error


def check_archive(archive_path: Path, ids: Sequence[str], images: Sequence[Path]) -> None:
    """Check that an archive holds the mask of each id and nothing else, each a palette PNG with VOC's colours, the size
    of its image, and values 0..20.

    Raises:
        UserError: with every mask that is missing, unexpected or wrong; if the archive cannot be read.
    """
    places = {str(FOLDER / f"{name}.png"): image for name, image in zip(ids, images, strict=True)}
    problems = []
    try:
        with tarfile.open(archive_path) as tar:
            members = [member for member in tar.getmembers() if not member.isdir()]
            count = Counter(member.name for member in members)
            problems += [f"{place}: missing" for place in places if place not in count]
            problems += [f"{place}: listed {times} times" for place, times in count.items() if times > 1]
            for member in members:
                content = tar.extractfile(member) if member.isreg() and member.name in places else None
                wrong = (
                    ["not a mask of the list"] if content is None else _problems(content.read(), places[member.name])
                )
                problems += [f"{member.name}: {problem}" for problem in wrong]
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"The archive {archive_path} cannot be read ({error}). Write it again.") from error
    if problems:
        raise UserError(
            f"{len(problems)} problems would make the server refuse the archive:\n{listing(problems, len(problems))}"
        )


def _problems(png: bytes, image: Path) -> Iterator[str]:
    try:
        mask = Image.open(io.BytesIO(png), formats=["PNG"])
        mask.load()
    except Exception as error:  # Pillow raises many kinds of errors for damaged files
        yield f"not a whole PNG ({error})"
        return
    if mask.mode != "P":
        yield f"{mask.mode} pixels, not a palette"
        return
    if mask.getpalette("RGB") != voc_palette().reshape(-1).tolist():
        yield "a palette that is not VOC's"
    height, width = image_size(image)
    if mask.size != (width, height):
        yield f"{mask.width} x {mask.height} pixels, its image {width} x {height}"
    illegal = [int(value) for value in np.unique(np.asarray(mask)) if value >= len(VOC_CLASSES)]
    if illegal:
        yield f"values {', '.join(map(str, illegal))}, which are not classes (0..{len(VOC_CLASSES) - 1})"
