"""Make COCO 2014 from its downloads, in a layout that ``secseg.data.coco`` opens: images, annotations, masks, labels.

Each file is written whole, and whole files are kept. The work can be interrupted at any time and run again.
"""

from __future__ import annotations

import logging
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from secseg.data.classes import voc_palette
from secseg.data.coco import PARTS, CocoFiles, find_images, find_part_file
from secseg.data.coco_annotations import Instances, read_instances
from secseg.data.coco_labels import INSTANCES, LABELS, labels_text
from secseg.data.coco_masks import RULES, draw_mask, require_pycocotools
from secseg.data.images import image_size
from secseg.data.masks import save_mask
from secseg.data.prepare_voc import Archive, fetch
from secseg.utils.checks import check_choice, refuse
from secseg.utils.errors import UserError, listing
from secseg.utils.files import atomic_write, remove_leftovers, working_in, write_text
from secseg.utils.parallel import with_progress
from secseg.utils.text import count

log = logging.getLogger(__name__)

ADDRESS = "http://images.cocodataset.org"
MOST = 64 * 1024**2
"""Most bytes of an image; those of COCO have less than one million."""
MOST_ANNOTATIONS = 2 * 1024**3


@dataclass(frozen=True)
class PartSource:
    """The archive of the images of a part, their number, and the number of those with labels."""

    images: Archive
    count: int
    labelled: int


@dataclass(frozen=True)
class CocoSources:
    """The archive of the annotations, and each part."""

    annotations: Archive
    parts: Mapping[str, PartSource]


def official_sources() -> CocoSources:
    """Return the official addresses, the MD5 of their files, and the counts of images."""

    def archive(title: str, folder: str, name: str, md5: str) -> Archive:
        return Archive(title, f"{ADDRESS}/{folder}/{name}", name, md5)

    train = archive("the images of train2014", "zips", "train2014.zip", "0da8c0bd3d6becc4dcb32757491aca88")
    val = archive("the images of val2014", "zips", "val2014.zip", "a3d79f5ed8d289b7a7554ce06a5782b3")
    parts = {"train": PartSource(train, 82_783, 82_081), "val": PartSource(val, 40_504, 40_137)}
    name, md5 = "annotations_trainval2014.zip", "0a379cfc70b0e71301e0f377548639bd"
    return CocoSources(archive("COCO's annotations", "annotations", name, md5), parts)


def prepare(
    root: str | Path, archives: str | Path | None = None, masks: str = "last", sources: CocoSources | None = None
) -> dict[str, Instances]:
    """Make or complete COCO 2014 in ``root``.

    Images and annotations that are there, in any layout of ``find_images``, are used. For each part, the masks of all
    images are drawn into ``masks_<rule>/<part>2014``, the labels are written to ``labels_<part>2014.csv``, and two id
    lists to ``ImageSets``.

    Args:
        root: the folder.
        archives: folder of the downloaded archives; None for ``archives`` in the root. Missing archives are downloaded.
        masks: which annotation a pixel of several belongs to, one of ``coco_masks.RULES``.
        sources: the archives; None for the official ones.

    Returns:
        The annotations of each part.

    Raises:
        UserError: for a failed download, a damaged file, other numbers of images than the official ones, a full disk,
            or if pycocotools is missing.
    """
    refuse(check_choice("masks", masks, RULES))
    require_pycocotools()
    root = Path(root).expanduser()
    store = Path(archives).expanduser() if archives else root / "archives"
    sources = sources or official_sources()
    with working_in(root):
        instances = {}
        for part, path in _annotation_files(root, store, sources).items():
            instances[part] = read_instances(path)
            _check_counts(instances[part], sources.parts[part], part)
        for part, found in instances.items():
            _complete_images(root, store, sources.parts[part].images, part, found)
        for part, found in instances.items():
            _draw_masks(root / f"masks_{masks}" / f"{part}2014", found, masks)
            _write_lists(root, part, found)
    return instances


def _annotation_files(root: Path, store: Path, sources: CocoSources) -> dict[str, Path]:
    """Return the annotation file of each part, from the archive if it is missing."""
    names = {part: INSTANCES.format(part=part) for part in sources.parts}
    found = {part: find_part_file(root, None, name) for part, name in names.items()}
    missing = {names[part]: root / "annotations" / names[part] for part, path in found.items() if path is None}
    if missing:
        remove_leftovers(root / "annotations", {".json"})
        archive = fetch(sources.annotations, store)
        with _opened(archive) as zipped:
            for member in zipped.infolist():
                target = missing.pop(PurePosixPath(member.filename).name, None)
                if target is None:
                    continue
                _check_size(member, MOST_ANNOTATIONS)
                log.info("Extracting %s", target)
                with atomic_write(target) as temporary, zipped.open(member) as source, temporary.open("wb") as file:
                    shutil.copyfileobj(source, file, 2**20)
        if missing:
            raise UserError(f"{archive} has no {' and no '.join(missing)}. Remove it and run again.")
    return {part: found[part] or root / "annotations" / name for part, name in names.items()}


def _check_counts(found: Instances, source: PartSource, part: str) -> None:
    labelled = sum(map(bool, found.labels.values()))
    if (len(found.images), labelled) != (source.count, source.labelled):
        raise UserError(
            f"{found.path} has {len(found.images)} images, {labelled} of them with labels, and {part}2014 has "
            f"{source.count} and {source.labelled}. Remove the file and run again."
        )


def _complete_images(root: Path, store: Path, archive: Archive, part: str, found: Instances) -> None:
    """Extract the images of a part that are missing."""
    try:
        there = find_images(root)
    except UserError:
        there = CocoFiles(root, (), {}, {})
    missing = {image.name: number for number, image in found.images.items() if number not in there.files}
    if not missing:
        log.info("%s2014: all %d images are there", part, len(found.images))
        return
    folder = _image_folder(root, there, part)
    log.info("%s2014: %d of %d images are missing in %s", part, len(missing), len(found.images), folder)
    remove_leftovers(folder, {".jpg"})
    path = fetch(archive, store)
    with _opened(path) as zipped:
        for member in zipped.infolist():
            name = PurePosixPath(member.filename)
            if name.suffix == ".jpg" and missing.pop(name.stem, None) is not None:
                _check_size(member, MOST)
                with atomic_write(folder / f"{name.stem}.jpg") as temporary:
                    temporary.write_bytes(zipped.read(member))
    if missing:
        raise UserError(
            f"{path} does not have {count(len(missing), 'image')} of {found.path}:\n{listing(sorted(missing))}"
        )


def _image_folder(root: Path, there: CocoFiles, part: str) -> Path:
    """Return the folder for the images of a part, in the layout of the images that are there."""
    if not there.folders:
        return root / f"{part}2014"
    first = there.folders[0]
    names = {name: name.replace(one, part) for one in PARTS for name in (one, f"{one}2014")}
    return first.with_name(names.get(first.name, first.name))  # else a folder of all images


def _draw_masks(folder: Path, found: Instances, rule: str) -> None:
    """Draw the masks that are missing, or have another size than their image."""
    remove_leftovers(folder, {".png"})
    there = set(folder.glob("*.png"))
    palette = voc_palette()

    def draw(number: int) -> None:
        image = found.images[number]
        path, size = folder / f"{image.name}.png", (image.height, image.width)
        if path in there and _has_size(path, size):
            return
        save_mask(draw_mask(found.annotations(number), size, rule), path, palette)

    with_progress(f"masks of {folder.name}", draw, list(found.images))
    log.info("%d masks in %s", len(found.images), folder)


def _has_size(path: Path, size: tuple[int, int]) -> bool:
    try:
        return image_size(path) == size
    except UserError:
        return False


def _write_lists(root: Path, part: str, found: Instances) -> None:
    """Write the labels, the list of all images, and the list of those with labels."""
    labels = {image.name: found.labels[number] for number, image in sorted(found.images.items())}
    write_text(root / LABELS.format(part=part), labels_text(labels))
    lists = {f"{part}2014": list(labels), f"{part}2014_labelled": [name for name, one in labels.items() if one]}
    for name, names in lists.items():
        write_text(root / "ImageSets" / f"{name}.txt", "\n".join([*names, ""]))


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive; damage that is found while it is read is a UserError."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"The archive {path} is damaged ({error}). Remove it and run again.") from error


def _check_size(member: zipfile.ZipInfo, most: int) -> None:
    if member.file_size > most:
        raise zipfile.BadZipFile(f"{member.filename[:80]!r} has {member.file_size:,} bytes, more than {most:,}")
