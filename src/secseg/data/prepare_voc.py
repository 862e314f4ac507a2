"""Make VOC 2012 with SegmentationAug from two downloads, in the layout that ``secseg.data.voc`` opens.

Each file is written whole, and whole files are kept. The work can be interrupted at any time and run again.
"""

from __future__ import annotations

import io
import logging
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Self

import numpy as np
from scipy.io import loadmat

from secseg.data.classes import VOC_CLASSES, voc_palette
from secseg.data.cues import open_cues
from secseg.data.mask_checks import check_masks
from secseg.data.masks import read_mask, save_mask
from secseg.data.voc import IMAGES, LISTS, MASKS, check_cues, find_data, open_split, shipped_ids
from secseg.utils.errors import UserError, listing
from secseg.utils.files import atomic_write, write_text
from secseg.utils.text import count

log = logging.getLogger(__name__)

AUGMENTED, OWN = MASKS
WANTED = (IMAGES, OWN, LISTS[0])
MOST = 64 * 1024**2
"""Most bytes of a file in an archive; images have less than one million."""


@dataclass(frozen=True)
class Archive:
    """A file to fetch: its name in messages, its address, its name on disk, and the MD5 of its content."""

    title: str
    url: str
    filename: str
    md5: str


@dataclass(frozen=True)
class Sources:
    """The archives, and the ids that they must contain: VOC's training set, the augmented one, and val."""

    voc: Archive
    sbd: Archive
    train: tuple[str, ...]
    train_aug: tuple[str, ...]
    val: tuple[str, ...]


def official_sources() -> Sources:
    """Return the addresses and hashes in torchvision, and the official lists (1,464, 10,582 and 1,449 ids)."""
    from torchvision.datasets.sbd import SBDataset
    from torchvision.datasets.voc import DATASET_YEAR_DICT

    voc = DATASET_YEAR_DICT["2012"]
    return Sources(
        Archive("PASCAL VOC 2012", voc["url"], voc["filename"], voc["md5"]),
        Archive("the Semantic Boundaries Dataset (SBD)", SBDataset.url, SBDataset.filename, SBDataset.md5),
        *(shipped_ids(split) for split in ("train", "train_aug", "val")),
    )


def prepare(
    root: str | Path, archives: str | Path | None = None, cues: str | Path | None = None, sources: Sources | None = None
) -> Path:
    """Make or complete VOC 2012 with SegmentationAug in ``root``, and check it.

    VOC's own masks have priority. SBD's masks of all other training images are converted to palette PNGs.

    Args:
        root: the folder. VOC in any of the usual layouts is completed.
        archives: folder of the downloaded archives; None for ``archives`` in the root. Missing archives are downloaded.
        cues: official cue file, or one of ours, to save as ``cues.safetensors`` in the root; None for no cues.
        sources: the archives; None for the official ones.

    Returns:
        The folder of the data.

    Raises:
        UserError: for a failed download, a damaged archive, a full disk, and everything that the final check finds.
    """
    root = Path(root).expanduser()
    store = Path(archives).expanduser() if archives else root / "archives"
    sources = sources or official_sources()
    try:
        folder = find_data(root)
    except UserError:
        folder = root / "VOCdevkit" / "VOC2012"
    if _voc_lacks(folder, sources):
        _extract_voc(fetch(sources.voc, store), folder)
    _copy_own_masks(folder, sources)
    missing = {name for name in sources.train_aug if not _is_mask(folder / AUGMENTED / f"{name}.png")}
    if missing:
        _convert_sbd(fetch(sources.sbd, store), folder, missing)
    write_text(folder / LISTS[0] / "train_aug.txt", "\n".join(sources.train_aug) + "\n")
    check(folder, sources)
    if cues is not None:
        imported = open_cues(cues)
        check_cues(open_split(folder, "train_aug", require_masks=False), imported, len(VOC_CLASSES))
        imported.save(root / "cues.safetensors")
        log.info("Cues of %d images: %s", len(imported), root / "cues.safetensors")
    return folder


def check(folder: Path, sources: Sources) -> None:
    """Check the number of images, and that each image has a readable mask of its size."""
    for split, expected in (("train_aug", sources.train_aug), ("val", sources.val)):
        images = open_split(folder, split, require_masks=True)
        if set(images.names) != set(expected):
            raise UserError(
                f"The list {split}.txt in {folder} has {len(images.names)} ids, not the {len(expected)} official ones. "
                "Remove it and run again."
            )
        for warning in check_masks(images, advice=". Remove their files, or the files of their images, and run again"):
            log.warning("%s", warning)
        log.info("%s: %d images, each with its mask", split, len(images.names))


def fetch(archive: Archive, folder: Path) -> Path:
    """Return the archive in ``folder``, after downloading it if it is missing."""
    from torchvision.datasets.utils import check_integrity, download_url

    path = folder / archive.filename
    manually = f"Fetch {archive.url} manually (MD5 {archive.md5}), put it at {path} and run again."
    if path.is_file():
        if not check_integrity(path, archive.md5):
            raise UserError(f"{path} is not whole: its MD5 differs from that of {archive.title}. Remove it. {manually}")
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot make the folder {folder} ({error.strerror}). Choose another with root=.") from error
    part = path.with_name(path.name + ".part")
    log.info("Downloading %s from %s", archive.title, archive.url)
    try:
        download_url(archive.url, folder, part.name, archive.md5)
        part.replace(path)
    except (OSError, HTTPException, RuntimeError, ValueError) as error:
        raise UserError(f"Cannot download {archive.title} ({error}). {manually}") from error
    return path


def _voc_lacks(folder: Path, sources: Sources) -> bool:
    """Return whether any file of the VOC archive is missing."""
    ids = {*sources.train_aug, *sources.train, *sources.val}
    files = [folder / IMAGES / f"{name}.jpg" for name in ids]
    files += [folder / OWN / f"{name}.png" for name in (*sources.train, *sources.val)]
    return not all(path.is_file() for path in files)


def _extract_voc(archive: Path, folder: Path) -> None:
    """Extract images, masks and lists, ``VOCdevkit/VOC2012/...`` in the archive, into ``folder``."""
    log.info("Extracting %s", archive)

    def place(path: PurePosixPath, size: int) -> Path | None:
        inside = PurePosixPath(*path.parts[2:])
        if path.parts[:2] != ("VOCdevkit", "VOC2012") or str(inside.parent) not in WANTED:
            return None
        target = folder / inside
        return None if target.is_file() and target.stat().st_size == size else target

    for target, data in files_in(archive, place):
        with atomic_write(target) as temporary:
            temporary.write_bytes(data)


def _copy_own_masks(folder: Path, sources: Sources) -> None:
    for name in (*sources.train, *sources.val):
        own, target = folder / OWN / f"{name}.png", folder / AUGMENTED / f"{name}.png"
        if not own.is_file():
            raise UserError(f"The VOC archive has no mask {own}.")
        if not (_is_mask(target) and np.array_equal(_mask(own), _mask(target))):
            with atomic_write(target) as temporary:
                shutil.copyfile(own, temporary)


def _convert_sbd(archive: Path, folder: Path, missing: set[str]) -> None:
    """Convert the class masks of ``missing`` images, ``.../dataset/cls/<id>.mat`` in the archive, to palette PNGs."""
    log.info("Converting %d masks of %s to %s", len(missing), archive, folder / AUGMENTED)

    def place(path: PurePosixPath, size: int) -> Path | None:
        wanted = path.parts[-3:-1] == ("dataset", "cls") and path.suffix == ".mat" and path.stem in missing
        return folder / AUGMENTED / f"{path.stem}.png" if wanted else None

    made = set()
    for target, data in files_in(archive, place):
        save_mask(sbd_mask(target.stem, data), target, voc_palette())
        made.add(target.stem)
        if len(made) % 1000 == 0:
            log.info("%d of %d", len(made), len(missing))
    if absent := sorted(missing - made):
        raise UserError(f"{archive} has no masks of {count(len(absent), 'image')}:\n{listing(absent)}")


def sbd_mask(name: str, data: bytes) -> np.ndarray:
    """Return the class mask in a ``.mat`` file of SBD: (H, W) uint8."""
    try:
        mask = loadmat(io.BytesIO(data), variable_names=["GTcls"])["GTcls"]["Segmentation"][0, 0]
    except Exception as error:  # SciPy raises many kinds of errors for damaged files
        raise UserError(f"The mask of {name} in the SBD archive cannot be read ({error}).") from error
    if mask.dtype != np.uint8 or mask.ndim != 2 or mask.max(initial=0) >= len(VOC_CLASSES):
        raise UserError(f"The mask of {name} in the SBD archive is not one of classes 0..{len(VOC_CLASSES) - 1}.")
    return mask


class _Member(tarfile.TarInfo):
    """An entry of an archive, refused before it is read if it claims more bytes than any file of VOC and SBD."""

    # Private, but the first that each Python calls with a header: some releases do not call frombuf.
    def _proc_member(self, tar: tarfile.TarFile) -> Self:
        _check_size(self)
        return super()._proc_member(tar)  # type: ignore[misc]


def _check_size(member: tarfile.TarInfo) -> None:
    if not 0 <= member.size <= MOST:
        raise tarfile.HeaderError(
            f"{member.name[:80]!r} has {member.size:,} bytes; the largest file has less than {MOST:,}"
        )


def files_in(archive: Path, place: Callable[[PurePosixPath, int], Path | None]) -> Iterator[tuple[Path, bytes]]:
    """Yield target and content of the files in an archive for which ``place(name, size)`` returns a target.

    Links and devices are skipped. Names that lead out of the archive are refused.
    """
    try:
        with tarfile.open(archive, "r|*", tarinfo=_Member) as tar:
            for member in tar:
                _check_size(member)  # the unpacked size of a sparse file is known only now
                tarfile.data_filter(member, str(archive.parent))
                target = place(PurePosixPath(member.name), member.size) if member.isreg() else None
                content = tar.extractfile(member) if target is not None else None
                if target is not None and content is not None:
                    yield target, content.read()
    except UserError:
        raise
    except Exception as error:  # tarfile and its decompressors raise many kinds of errors for damaged files
        raise UserError(f"The archive {archive} is damaged ({error}). Remove it and run again.") from error


def _mask(path: Path) -> np.ndarray:
    return read_mask(path, len(VOC_CLASSES))


def _is_mask(path: Path) -> bool:
    try:
        _mask(path)
    except UserError:
        return False
    return True
