"""The built-in data set: drawn by the project itself, with simulated cues, on disk in the layout of VOC."""

from secseg.data.shapes.drawing import SHAPES_CLASSES, draw_shapes

__all__ = ["SHAPES_CLASSES", "draw_shapes"]
