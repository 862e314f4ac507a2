"""The LightningDataModule of the built-in data set."""

from __future__ import annotations

from typing import Any

from secseg.data.shapes import SHAPES_CLASSES, draw_shapes
from secseg.data.voc_module import VOCDataModule


class ShapesDataModule(VOCDataModule):
    """The built-in data set, drawn into ``root`` in the VOC layout when it is first used.

    Args:
        draw_train, draw_val, draw_seed: as for ``draw_shapes``.
        others: as for ``ImageDataModule``.
    """

    title = "shapes"
    class_names = SHAPES_CLASSES

    def __init__(
        self, root: str, draw_train: int = 300, draw_val: int = 100, draw_seed: int = 0, **others: Any
    ) -> None:
        super().__init__(root, **others)
        self.draw_train, self.draw_val, self.draw_seed = draw_train, draw_val, draw_seed

    def prepare(self) -> None:
        draw_shapes(self.root, train=self.draw_train, val=self.draw_val, seed=self.draw_seed)
