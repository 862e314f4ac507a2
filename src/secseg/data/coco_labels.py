"""Image-level labels of COCO 2014: from its annotations, from what ``prepare_coco`` made of these, or from a table."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from secseg.data.coco import COCO_CLASSES, PARTS, CocoFiles, find_part_file, image_number
from secseg.data.coco_annotations import is_instances, read_instances
from secseg.data.cues import open_cues
from secseg.data.label_cells import TableOptions
from secseg.data.label_table import read_table
from secseg.data.labels import CUE_SUFFIXES, numbered
from secseg.utils.errors import UserError, listing

log = logging.getLogger(__name__)

LABELS, INSTANCES = "labels_{part}2014.csv", "instances_{part}2014.json"
"""Names of the files of labels that ``prepare_coco`` writes, and of COCO's annotations."""


Numbered = Mapping[int, tuple[int, ...]]
"""The foreground class numbers of each image, sorted, by the number of the image."""


class CocoLabels:
    """The labels of all images. A file is read when it is needed, once.

    Args:
        root: folder of the data.
        given: a file of labels: annotations, a table, vectors (``cls_labels.npy``) or a cue file. None for
            ``labels_<part>2014.csv``, or else ``instances_<part>2014.json``, of each part.
        annotations: folder of these two files; None to search the root.
        files: the images that are there.
        options: as for ``read_table``.
    """

    def __init__(
        self, root: Path, given: Path | None, annotations: Path | None, files: CocoFiles, options: TableOptions
    ) -> None:
        self.given, self.files, self.options = given, files, options
        self.paths: dict[str, Path] = {}
        for part in PARTS:
            names = (name.format(part=part) for name in (LABELS, INSTANCES))
            found = (find_part_file(root, annotations, name) for name in names)
            if path := next((path for path in found if path is not None), None):
                self.paths[part] = path
        if given is not None and given.is_file() and is_instances(given):
            self.paths |= {part: given for part in PARTS if f"{part}2014" in given.name}
            self.given = None
        self._read: dict[Path, Numbered] = {}

    def listed(self, part: str) -> tuple[frozenset[int], Path | None]:
        """Return the numbers of all images of a part by COCO's annotations, and the file that lists them; none if there
        is no such file, or if other labels are given and the folder shows the images of the part."""
        path = self.paths.get(part)
        if path is None or (self.given is not None and self.files.parts[part]):
            return frozenset(), None
        return frozenset(self._labels(path)), path

    def of(self, numbers: Collection[int]) -> tuple[Numbered, tuple[Path, ...]]:
        """Return the labels of images, as far as there are any, and the files that were read for them."""
        if self.given is not None:
            labels = self._labels(self.given)
            if not labels.keys().isdisjoint(numbers):
                return labels, (self.given,)
        known = self.files.parts
        flat = not any(known.values())  # the names of the images do not show their part
        parts = [part for part in self.paths if flat or not known[part].isdisjoint(numbers)]
        found: dict[int, tuple[int, ...]] = {}
        for part in parts:
            found |= self._labels(self.paths[part])
        return found, tuple(self.paths[part] for part in parts)

    def _labels(self, path: Path) -> Numbered:
        if path not in self._read:
            self._read[path] = self._read_file(path)
            shown = sum(map(bool, self._read[path].values()))
            log.info("%s: %d images, %d of them with labels", path, len(self._read[path]), shown)
        return self._read[path]

    def _read_file(self, path: Path) -> Numbered:
        if path.is_file() and is_instances(path):
            return read_instances(path).labels
        if path.suffix.lower() in CUE_SUFFIXES:
            store = open_cues(path)
            found = {name: store[name].labels for name in store.names}
        else:
            table = read_table(path, self._names(), COCO_CLASSES, options=self.options)
            found, problems = numbered(table, COCO_CLASSES)
            if problems := [*problems, *table.problems]:
                raise UserError(f"The labels in {path} cannot be used:\n{listing(problems)}\nGive COCO's classes.")
            for note in table.notes:
                log.warning("%s", note)
            if table.form:
                log.info("labels: %s", table.source)
        numbers = {name: image_number(name) for name in found}
        if strange := [name for name, number in numbers.items() if number is None]:
            raise UserError(f"The labels in {path} are not of COCO's images:\n{listing(strange)}")
        return {number: found[name] for name, number in numbers.items() if number is not None}

    def _names(self) -> frozenset[str]:
        """Return all names that a file may have for the images."""
        forms = ("{}", "{:012}", *(f"COCO_{part}2014_{{:012}}" for part in PARTS))
        return frozenset(form.format(number) for number in self.files.files for form in forms)


def labels_text(labels: Mapping[str, Sequence[int]]) -> str:
    """Return labels of images as a table that ``read_table`` reads."""
    rows = [f"{name},{';'.join(COCO_CLASSES[number] for number in numbers)}" for name, numbers in labels.items()]
    return "\n".join(["image,labels", *rows, ""])
