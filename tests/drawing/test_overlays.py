"""Overlays show the colours of their masks."""

from __future__ import annotations

import numpy as np

from secseg.data.classes import VOID, voc_palette
from secseg.drawing.overlays import VOID_COLOUR, colorize, overlay

PALETTE = voc_palette()


def test_classes_and_void_have_the_colours_of_voc() -> None:
    colours = colorize(np.array([[0, 1, VOID]], np.uint8), PALETTE)
    assert colours.tolist() == [[[0, 0, 0], [128, 0, 0], list(VOID_COLOUR)]]


def test_an_overlay_mixes_colours_and_keeps_the_image_where_the_mask_is_void() -> None:
    image = np.full((1, 2, 3), 100, np.uint8)
    mixed = overlay(image, np.array([[1, VOID]], np.uint8), PALETTE, alpha=0.5)
    assert mixed.tolist() == [[[114, 50, 50], [100, 100, 100]]]


def test_a_mask_on_another_grid_is_enlarged_without_new_classes() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    mixed = overlay(image, np.array([[1, 2], [3, 0]], np.uint8), PALETTE, alpha=1)
    assert mixed[0, 0].tolist() == PALETTE[1].tolist()
    assert mixed[0, 7].tolist() == PALETTE[2].tolist()
    assert len(np.unique(mixed.reshape(-1, 3), axis=0)) == 4
