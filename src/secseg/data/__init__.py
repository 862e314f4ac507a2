"""Reading data: VOC and the built-in shapes, cues, batches."""

from secseg.data.datamodule import ShapesDataModule, VOCDataModule

__all__ = ["ShapesDataModule", "VOCDataModule"]
