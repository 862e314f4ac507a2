"""VOC 2012 with SegmentationAug, and any data in its layout: find the files of a split."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from importlib.resources import files
from pathlib import Path

from secseg.data.classes import VOC_CLASSES, voc_palette
from secseg.data.cues import CueStore
from secseg.data.cues.store import class_lines
from secseg.data.id_list import read_ids
from secseg.data.images import image_name
from secseg.data.splits import ImageSet
from secseg.utils.errors import UserError, listing, nearest
from secseg.utils.program import command
from secseg.utils.quoting import override
from secseg.utils.text import count, nfc, part_of

IMAGES = "JPEGImages"
MASKS = ("SegmentationClassAug", "SegmentationClass")
LISTS = ("ImageSets/Segmentation", "ImageSets/SegmentationAug")
SHIPPED_SPLITS = ("train", "train_aug", "val")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


def open_split(
    root: str | Path,
    split: str,
    require_masks: bool,
    class_names: Sequence[str] = VOC_CLASSES,
    masks: Path | None = None,
) -> ImageSet:
    """Find the images and masks of one split.

    Args:
        root: ``VOC2012`` itself, or the folder that holds ``VOC2012`` or ``VOCdevkit/VOC2012``.
        split: name of an id list in ``ImageSets/Segmentation``, ``ImageSets/SegmentationAug`` or the root; or the path
            of a list, ``<anything>.txt``. For the classes of VOC, the package has the lists ``train``, ``train_aug``
            and ``val``; a list in the data has priority.
        require_masks: whether an image without a mask is an error. If not, masks may be missing.
        class_names: names of the classes, background first.
        masks: folder of masks that replaces the masks of the data (``SegmentationClassAug``, or else
            ``SegmentationClass``).

    Raises:
        UserError: if there is no data or no such split; as ``read_ids``; with all ids that have no image or no mask.
    """
    root = Path(root).expanduser()
    is_voc = tuple(class_names) == VOC_CLASSES
    folder = find_data(root)
    images = _by_stem(folder / IMAGES, IMAGE_SUFFIXES)
    where, names = _read_list(root, folder, split, is_voc, images)
    if masks is not None and not masks.is_dir():
        raise UserError(f"There is no folder of masks at {masks}.")
    mask_folders = [folder / name for name in MASKS if (folder / name).is_dir()] if masks is None else [masks]
    found: dict[str, Path] = {}
    for place in reversed(mask_folders):
        found |= _by_stem(place, (".png",))
    if lacking := _lacking(names, {"image": images, **({"mask": found} if require_masks else {})}):
        looked = [folder / IMAGES, *((mask_folders or [folder / MASKS[0]]) if require_masks else ())]
        fix = f"`{command('prepare_voc')}` fetches and makes the files that VOC lacks" if is_voc else "Add the files"
        raise UserError(
            f"{part_of(len(lacking), len(names), 'image', 'is', 'are')} not complete (split {split!r}, {where}):\n"
            f"{listing(lacking)}\nLooked in {', '.join(map(str, looked))}. {fix}, or "
            f"put a list of the images you have into {folder / LISTS[0]}."
        )
    return ImageSet(
        title=f"{folder.absolute().name} (split {split})",
        names=names,
        images=tuple(images[name] for name in names),
        masks=tuple(found.get(name, mask_folders[0] / f"{name}.png") for name in names) if mask_folders else None,
        class_names=tuple(class_names),
        palette=voc_palette(),
    )


def _lacking(names: Sequence[str], kinds: dict[str, dict[str, Path]]) -> list[str]:
    """Return a line for each name without a file of each kind, with a hint at one in other upper and lower case."""
    lacks: dict[str, list[str]] = {}
    for kind, found in kinds.items():
        near = {name.casefold(): f" (but {path.name})" for name, path in found.items()}
        for name in names:
            if name not in found:
                lacks.setdefault(name, []).append(f"no {kind}{near.get(name.casefold(), '')}")
    return [f"{name}: {', '.join(what)}" for name, what in lacks.items()]


def find_data(root: Path) -> Path:
    """Return the folder in VOC's layout: ``root``, or ``VOC2012`` or ``VOCdevkit/VOC2012`` in it; else raise a
    UserError."""
    places = (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012")
    for place in places:
        if (place / IMAGES).is_dir():
            return place
    raise UserError(
        f"There is no data at {root}{'' if root.is_dir() else ', which is not a folder'}. None of these folders of "
        f"images exists:\n{listing([place / IMAGES for place in places])}\n"
        "Set root to the folder that holds VOC2012, or fetch VOC 2012 with "
        f"`{command('prepare_voc', override('root', root))}`."
    )


def check_cues(image_set: ImageSet, store: CueStore, num_classes: int) -> None:
    """Check that each image has cues, and only cues of its labels.

    Raises:
        UserError: with all images without cues, with a class outside 0..``num_classes`` - 1, or with cues of a class
            that is not among their labels.
    """
    missing = [name for name in image_set.names if name not in store]
    if missing:
        raise UserError(
            f"{part_of(len(missing), len(image_set.names), 'image', 'has', 'have')} no cues ({image_set.title}; the "
            f"cue file has {count(len(store), 'image')}):\n{listing(missing)}\nSet data.cues to the file made for "
            f"these images, or make cues with `{command('make_cues')}`."
        )
    stray = store.stray(image_set.names)
    outside = stray | store.labelled(image_set.names)
    outside[:, :num_classes] = False
    for wrong, what in (
        (outside, f"cues or labels of a class outside 0..{num_classes - 1}; are they of another data set?"),
        (stray, "cues of a class that is not among their labels; make the cue file again."),
    ):
        if lines := class_lines(image_set.names, wrong):
            raise UserError(f"{count(len(lines), 'image')} of {image_set.title} with {what}\n{listing(lines)}")


def shipped_ids(split: str) -> tuple[str, ...]:
    """Return the official ids of ``train`` (1,464), ``train_aug`` (10,582) or ``val`` (1,449)."""
    return tuple((files("secseg.data") / "lists" / f"{split}.txt").read_text("ascii").split())


def _read_list(
    root: Path, folder: Path, split: str, is_voc: bool, images: Collection[str]
) -> tuple[str, tuple[str, ...]]:
    """Return the place of a split's list, for messages, and its ids; ``images`` are the ids of all images."""
    if split.endswith(".txt"):
        return split, read_ids(Path(split).expanduser(), _id, images)
    places = list(dict.fromkeys([*(folder / place for place in LISTS), folder, root]))
    for place in places:
        path = place / f"{split}.txt"
        if path.is_file():
            return str(path), read_ids(path, _id, images)
    if is_voc and split in SHIPPED_SPLITS:
        return "the official list in the package", shipped_ids(split)
    here = {path.stem for place in places if place.is_dir() for path in place.glob("*.txt")}
    known = sorted(here | set(SHIPPED_SPLITS if is_voc else ()))
    raise UserError(
        f"There is no split {split!r}.{nearest(split, known)} Known: {', '.join(known[:20]) or 'none'}. "
        f"A list {split}.txt would be read from:\n{listing(places)}"
    )


def _id(text: str) -> str:
    """Return the id of an image from an id, a file or the path of a file."""
    return image_name(text).rpartition("/")[2]


def _by_stem(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """Return the files of a folder by name without suffix. Of several, the one whose suffix comes first counts."""
    paths = [path for path in folder.iterdir() if path.suffix.lower() in suffixes]
    paths.sort(key=lambda path: suffixes.index(path.suffix.lower()), reverse=True)
    return {nfc(path.stem): path for path in paths}
