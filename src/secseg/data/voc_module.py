"""LightningDataModule of VOC 2012 with SegmentationAug, or of any data in its layout."""

from __future__ import annotations

from pathlib import Path

from secseg.data.classes import VOC_CLASSES
from secseg.data.cues import find_cues
from secseg.data.datamodule import ImageDataModule
from secseg.data.labels import FoundLabels, Labels, find_labels, labels_in_masks
from secseg.data.splits import ImageSet
from secseg.data.voc import open_split
from secseg.utils.errors import UserError


class VOCDataModule(ImageDataModule):
    """VOC 2012 with SegmentationAug, or any data in its layout.

    Args:
        root, train_split, val_split: as for ``open_split``.
        labels: a file of labels, as for ``find_labels``; ``masks`` for the classes in the training masks; None for the
            labels of the cue file.
    """

    title = "voc12aug"
    class_names = VOC_CLASSES
    _label_source = ""

    def open_train_split(self, masks: bool, folder: Path | None) -> ImageSet:
        return open_split(self.root, self.train_split, masks, self.class_names, folder)

    def open_val_split(self) -> ImageSet:
        return open_split(self.root, self.val_split, True, self.class_names)

    def image_labels(self) -> Labels:
        if self.labels == "masks":
            found = FoundLabels(labels_in_masks(self.train_images), "masks")
        else:
            names = self.train_images.names
            found = find_labels(self._label_file(), names, self.class_names, self.table_options)
        self._label_source = found.source
        return found.labels

    def label_source(self) -> str:
        if not self._label_source:
            self.image_labels()
        return self._label_source

    def own_labels(self) -> Labels | None:
        return None if self.labels is None else self.image_labels()

    def _label_file(self) -> Path:
        named = self.labels or self.cue_file
        path = Path(named).expanduser() if named else find_cues(self.root)
        if path is None:
            raise UserError(
                f"There are no image-level labels: no cue file in {self.root} or above it. Name a cue file, or a table "
                "of lines name,label;label, with data.labels=; or use the training masks: data.labels=masks."
            )
        return path
