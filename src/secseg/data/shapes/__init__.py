"""The built-in data set, which is drawn: textured objects on cluttered backgrounds, with simulated cues."""

from secseg.data.shapes.dataset import SHAPES_CLASSES, draw_shapes

__all__ = ["SHAPES_CLASSES", "draw_shapes"]
