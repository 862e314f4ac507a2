"""Two cue files are compared as defined, on the images and the grid that they share."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from secseg.cue_making.audit.compare import compare_cues
from secseg.cue_making.audit.tables import comparison_table
from secseg.data.cues import Cues, CueStore
from secseg.data.cues.store import resample
from secseg.utils.errors import UserError
from tests.cue_making.random_cues import NAMES, audit_cues, random_masks, random_store
from tests.reference import cue_figures as reference


@pytest.mark.parametrize("seed", range(5))
def test_agreement_overlap_and_difference_are_as_defined(tmp_path: Path, seed: int) -> None:
    first, second = random_store(seed), random_store(seed + 10)
    masks = random_masks(tmp_path, first, seed)
    figures = compare_cues(first, second, None, NAMES, masks)
    pairs = [(first[name].map, second[name].map) for name in first]
    counted = np.array([reference.agreement(*pair) for pair in pairs])
    both, same, different = counted.sum(axis=0)
    assert figures["agreement"] == pytest.approx(same / both)
    assert figures["both"]["of_all"] == pytest.approx(both / (7 * 35))
    assert figures["both"]["of_second"] == pytest.approx(both / sum((b != 255).sum() for _, b in pairs))
    assert figures["difference"] == pytest.approx(different / (7 * 35))
    for number, name in enumerate(NAMES):
        expected = reference.overlap([a for a, _ in pairs], [b for _, b in pairs], number)
        assert figures["classes"][name]["overlap"] == (None if expected is None else pytest.approx(expected))
    known = [values["overlap"] for values in figures["classes"].values() if values["overlap"] is not None]
    assert figures["overlap"] == pytest.approx(sum(known) / 4) == pytest.approx(sum(known) / len(known))
    assert [share for _, share in figures["most_different"]] == sorted(counted[:, 2] / 35, reverse=True)
    assert figures["first"] == audit_cues(first, NAMES, masks)
    assert figures["second"] == audit_cues(second, NAMES, masks)
    json.dumps(figures, allow_nan=False)


def test_a_file_agrees_with_itself() -> None:
    store = random_store(0)
    figures = compare_cues(store, store, None, NAMES)
    assert (figures["agreement"], figures["difference"], figures["overlap"], figures["identical"]) == (1, 0, 1, 7)
    assert figures["labels_differ"] == []


def test_images_that_only_one_file_has_are_counted_and_left_out() -> None:
    first = random_store(0)
    second = CueStore.from_dict({name: first[name] for name in (*first.names[4:2:-1], "image 0")}, {})
    second = CueStore.from_dict({**{name: second[name] for name in second}, "new": first["image 3"]}, {})
    figures = compare_cues(first, second, None, NAMES)
    assert figures["images"] == {"shared": 3, "only_first": 4, "only_second": 1}
    assert figures["difference"] == 0
    assert compare_cues(first, second, ["image 3", "image 5"], NAMES)["images"]["only_first"] == 1
    with pytest.raises(UserError, match=r"none of the 1 images in common.*like image 0"):
        compare_cues(first, second, ["image 5"], NAMES)


def test_labels_that_differ_are_named() -> None:
    first = random_store(0)
    cues = {name: first[name] for name in first}
    cues["image 2"] = Cues((1, 3), cues["image 2"].map)
    figures = compare_cues(first, CueStore.from_dict(cues, {}), None, NAMES)
    assert figures["labels_differ"] == [{"image": "image 2", "first": [NAMES[3]], "second": ["cat", NAMES[3]]}]
    assert figures["identical"] == 7


def test_maps_on_another_grid_are_compared_on_the_grid_of_the_first() -> None:
    first, second = random_store(0), random_store(1, grid=(9, 4))
    moved = {name: Cues(second[name].labels, resample(second[name].map, (5, 7))) for name in second}
    expected = compare_cues(first, CueStore.from_dict(moved, second.provenance), None, NAMES)
    assert compare_cues(first, second, None, NAMES) == expected
    assert expected["second"]["grid"] == [5, 7]


def test_the_table_has_both_files_side_by_side(tmp_path: Path) -> None:
    first, second = random_store(0), random_store(1)
    figures = compare_cues(first, second, None, NAMES, random_masks(tmp_path, first, 0))
    (cat,) = (line for line in comparison_table(figures).splitlines() if line.startswith("cat "))
    sides = (figures["first"]["classes"]["cat"], figures["second"]["classes"]["cat"])
    shares = [figures["classes"]["cat"]["overlap"], *(side[key] for key in ("precision", "recall") for side in sides)]
    assert cat.split()[1:] == [f"{100 * share:.1f}" for share in shares]
    assert "precision" not in comparison_table(compare_cues(first, second, None, NAMES))
