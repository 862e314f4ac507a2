"""Write the archive of masks for the PASCAL VOC evaluation server, after a check of each mask."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from secseg.data.classes import VOC_CLASSES, voc_palette
from secseg.data.images import image_size
from secseg.utils.errors import UserError, listing
from secseg.utils.files import atomic_write
from secseg.utils.text import count

FOLDER = "results/VOC2012/Segmentation/comp6_test_cls"
"""Folder of the masks in the archive."""


def write_archive(masks_folder: Path, images: Mapping[str, Path], archive_path: Path) -> None:
    """Write ``<id>.png`` of each id, with its image file, into a tar archive.

    The archive holds the files of the masks, sorted, without times and owners: equal masks give equal bytes. Other
    masks in the folder are left out.

    Raises:
        UserError: with every mask that is missing or that the server would refuse. Then no archive is written.
    """
    problems: list[str] = []
    with atomic_write(archive_path) as temporary:
        with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
            for name, image in sorted(images.items()):
                file = masks_folder / f"{name}.png"
                content = file.read_bytes() if file.is_file() else b""
                problems += [f"{file.name}: {problem}" for problem in _problems(content, image)]
                member = tarfile.TarInfo(f"{FOLDER}/{file.name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        if problems:
            raise UserError(
                f"No archive is written from {masks_folder}. The server would refuse it for "
                f"{count(len(problems), 'problem')}:\n"
                f"{listing(problems, len(problems))}\nPredict these masks again."
            )


def _problems(png: bytes, image: Path) -> Iterator[str]:
    """Yield why the server would refuse a mask, given as the bytes of a file, of which there are none if it is missing.

    A mask must be a palette PNG with VOC's colours, the size of its image, and values 0..20.
    """
    if not png:
        yield "missing or empty"
        return
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
