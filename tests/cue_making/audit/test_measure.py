"""Figures of an audit are as defined; those of the official file are as measured before."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secseg.cue_making.audit.cue_warnings import cue_warnings
from secseg.cue_making.audit.measure import count_cues, summarize
from secseg.cue_making.audit.tables import OFFICIAL, OFFICIAL_QUALITY, audit_table
from secseg.data.classes import VOC_CLASSES
from secseg.data.cues import Cues, CueStore, open_cues
from secseg.data.masks import read_mask
from secseg.data.voc import open_split
from secseg.utils.errors import UserError
from tests.cue_making.random_cues import NAMES, audit_cues, random_masks, random_store
from tests.reference import cue_figures as reference


@pytest.mark.parametrize("seed", range(5))
def test_coverage_and_missing_cues_are_counted_as_defined(seed: int) -> None:
    store = random_store(seed)
    audit = audit_cues(store, NAMES)
    expected = reference.audit(list(store.maps), [store[name].labels for name in store], len(NAMES))
    assert audit["images_without"] == expected["without"]
    assert tuple(audit["labels"].values()) == expected["labels"]
    assert tuple(audit["background_locations"].values()) == expected["background"]
    covered = audit["coverage"]
    assert (covered["background"], covered["foreground"]) == pytest.approx(expected["coverage"])
    assert math.fsum(covered.values()) == pytest.approx(1)
    for number, (name, (labelled, with_cues, coverage)) in enumerate(zip(NAMES, expected["classes"], strict=True)):
        values = audit["classes"][name]
        assert values["labelled"] == (labelled if number else None)
        assert values["with_cues"] == with_cues
        assert values["coverage"] == (None if coverage is None else pytest.approx(coverage))
    sizes = [len(store[name].labels) for name in store]
    assert audit["images_by_classes"] == {str(size): sizes.count(size) for size in sorted(set(sizes))}
    assert (audit["images"], audit["grid"], audit["overlaps"], audit["masks"]) == (7, [5, 7], 2, None)


@pytest.mark.parametrize("seed", range(5))
def test_precision_and_recall_are_pooled_over_the_cells_that_are_not_void(tmp_path: Path, seed: int) -> None:
    store = random_store(seed)
    masks = random_masks(tmp_path, store, seed)
    audit = audit_cues(store, NAMES, masks, scored=["background", "cat", "bird"])
    truths = [reference.nearest_half_pixel(read_mask(path, 5), (5, 7)) for path in masks.values()]
    maps = [store[name].map for name in masks]
    for number, name in enumerate(NAMES):
        expected = reference.quality(maps, truths, number)
        assert (audit["classes"][name]["precision"], audit["classes"][name]["recall"]) == pytest.approx(expected)
    means = audit["masks"]
    assert means["images"] == 6
    cat, background = audit["classes"]["cat"], audit["classes"]["background"]
    assert means["precision"] == pytest.approx((cat["precision"] + background["precision"]) / 2)  # bird has none
    assert means["foreground_recall"] == cat["recall"]
    json.dumps(audit, allow_nan=False)


def test_an_audit_can_be_of_some_images_in_any_order() -> None:
    store = random_store(0)
    some = [store.names[5], store.names[3]]
    expected = reference.audit([store[name].map for name in some], [store[name].labels for name in some], len(NAMES))
    audit = audit_cues(store, NAMES, names=some)
    assert audit["images"] == 2
    assert tuple(audit["background_locations"].values()) == expected["background"]


def test_one_image_without_label_and_cue_has_figures() -> None:
    store = CueStore.from_dict({"a": Cues((), np.full((2, 2), 255, np.uint8))}, {})
    audit = audit_cues(store, ("background",))
    assert audit["coverage"] == {"background": 0, "foreground": 0, "unlabelled": 1}
    assert audit["images_without"] == {"background": 1, "foreground": 1}
    assert (audit["overlaps"], audit["images_by_classes"]) == (None, {"0": 1})


def test_cues_that_cannot_be_audited_are_reported(tmp_path: Path) -> None:
    store = random_store(0)
    with pytest.raises(UserError, match=r"no cues for 2 of 3 images:\n  x\n  y"):
        audit_cues(store, NAMES, names=["image 1", "x", "y"])
    with pytest.raises(UserError, match=r"class outside 0\.\.2.*\n  image 2: class 3"):
        audit_cues(store, NAMES[:3], names=["image 1", "image 2"])
    with pytest.raises(UserError, match=r"class 'cta' to score does not exist\. Did you mean 'cat'"):
        audit_cues(store, NAMES, scored=["cta"])
    masks = random_masks(tmp_path, store, 0)
    for name in store.names[1:3]:
        masks[name].write_bytes(b"no image")
    with pytest.raises(UserError, match=r"2 of 6 masks cannot be used:\n.*image 1.png.*\n.*image 2.png"):
        audit_cues(store, NAMES, masks)


def test_the_table_has_one_row_per_class(tmp_path: Path) -> None:
    store = random_store(1)
    counts = count_cues(store, NAMES, random_masks(tmp_path, store, 1))
    audit = summarize(counts)
    text = audit_table(audit)
    assert "official" not in text  # these are not VOC's classes
    (cat,) = (line for line in text.splitlines() if line.startswith("cat "))
    shown = [f"{100 * audit['classes']['cat'][key]:.1f}" for key in ("coverage", "precision", "recall")]
    assert cat.split()[3:] == shown


@pytest.fixture(scope="module")
def official(voc_animals: Path) -> CueStore:
    return open_cues(voc_animals.parent / "localization_cues.pickle.gz")


def test_the_official_file_has_the_official_figures(official: CueStore) -> None:
    audit: dict[str, Any] = audit_cues(official, VOC_CLASSES)
    rounded = {part: round(share, 3) for part, share in audit["coverage"].items()}
    assert {key: audit[key] for key in OFFICIAL} | {"coverage": rounded} == OFFICIAL
    assert cue_warnings(count_cues(official, VOC_CLASSES), official.provenance) == []
    for line in audit_table(audit).splitlines()[1:18]:
        ours, known = re.split(r"\s{2,}", line)[1:]
        assert ours == known, line


def test_the_official_cues_are_as_precise_as_was_measured(official: CueStore, voc_animals: Path) -> None:
    splits = [open_split(voc_animals, split, require_masks=True) for split in ("train_aug", "tune")]
    masks = {name: path for split in splits for name, path in zip(split.names, split.masks or (), strict=True)}
    assert len(masks) == 1538
    audit = audit_cues(official, VOC_CLASSES, masks, list(masks))
    for name, known in OFFICIAL_QUALITY.items():
        for key, value in known.items():
            assert value is None or round(audit["classes"][name][key], 2) == value, (name, key)
