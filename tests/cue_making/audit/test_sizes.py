"""Sizes of classes, estimated from cues and compared with masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secseg.cue_making.audit.measure import count_cues
from secseg.cue_making.audit.sizes import estimate_errors, sizes_table
from secseg.data.cues import Cues, CueStore
from tests.cue_making.random_cues import NAMES, image_set, random_masks, random_store


def test_the_size_of_a_uniform_object_with_few_cues_is_its_area(tmp_path: Path) -> None:
    """A white half of the image has one column of cues, the black half as well: the CRF finds both halves."""
    photo = np.zeros((82, 82, 3), np.uint8)
    photo[:, 41:] = 255
    mask = np.zeros((82, 82), np.uint8)
    mask[:, 41:] = 1
    cues = np.full((41, 41), 255, np.uint8)
    cues[:, 5], cues[:, 35] = 0, 1
    store = CueStore.from_dict({"a": Cues((1,), cues)}, {})
    Image.fromarray(mask).save(tmp_path / "mask.png")
    images = image_set(tmp_path, store, {"a": tmp_path / "mask.png"})
    Image.fromarray(photo).save(images.images[0], format="PNG")
    figures = estimate_errors(count_cues(store, NAMES, {"a": tmp_path / "mask.png"}), store, images)
    assert figures is not None
    assert figures[NAMES[1]]["true"] == pytest.approx(0.5, abs=0.02)
    assert figures[NAMES[1]]["ratio"] == pytest.approx(1, abs=0.05)
    assert figures[NAMES[1]]["factor"] == pytest.approx(1, abs=0.05)
    assert figures[NAMES[1]]["constant"] == 1


def test_without_masks_nothing_is_compared(tmp_path: Path) -> None:
    store = random_store(0)
    assert estimate_errors(count_cues(store, NAMES), store, image_set(tmp_path, store, {})) is None


def test_the_table_has_a_row_for_each_class_in_the_masks(tmp_path: Path) -> None:
    store = random_store(0)
    images = image_set(tmp_path, store, masks := random_masks(tmp_path, store, 0))
    figures = estimate_errors(count_cues(store, NAMES, masks), store, images)
    assert figures
    assert len(sizes_table(figures).partition("\n\n")[0].splitlines()) == len(figures) + 1
