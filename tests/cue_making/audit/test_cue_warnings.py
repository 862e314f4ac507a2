"""Warnings about cues that are too large, too small, missing, or at places that do not depend on the image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from secseg.cue_making.audit.cue_warnings import SAME_PLACES, cue_warnings, frame_ratio, sameness
from secseg.cue_making.audit.measure import count_cues
from secseg.data.cues import Cues, CueStore

NAMES = ("background", "cat", "dog")
SIDE, NONE = 21, 255
RECIPE = {"cues": {"threshold": 0.5, "background_score": -1, "share": 0.1}}


def store_of(maps: Sequence[np.ndarray], labels: Sequence[tuple[int, ...]], **provenance: object) -> CueStore:
    cues = {f"{row:02d}": Cues(own, found) for row, (found, own) in enumerate(zip(maps, labels, strict=True))}
    return CueStore.from_dict(cues, provenance)


def good_maps(count: int = 20) -> list[np.ndarray]:
    """Maps with a cat of 16 % in the middle, and background that moves along one side and into the image."""
    maps = np.full((count, SIDE, SIDE), NONE, dtype=np.uint8)
    maps[:, 6:14, 6:14] = 1
    for row, one in enumerate(maps):
        one[row % SIDE, :6] = one[(row + 7) % SIDE, 15:] = 0
    return list(maps)


def warnings(
    maps: Sequence[np.ndarray], labels: Sequence[tuple[int, ...]] | None = None, **provenance: object
) -> list[str]:
    store = store_of(maps, labels or [(1,)] * len(maps), **(provenance or RECIPE))
    return cue_warnings(count_cues(store, NAMES), store.provenance)


def test_usual_cues_have_no_warning() -> None:
    assert warnings(good_maps()) == []


def test_a_class_over_half_of_its_images_is_reported_with_the_settings_of_its_recipe() -> None:
    maps = good_maps()
    for one in maps:
        one[one == NONE] = 1
    (line,) = warnings(maps)
    assert line == (
        "cat: its cues cover 97 % of its 20 images on average. Cues should lie within the objects. Raise cues.threshold"
        " or cues.background_score of make_cues.py."
    )
    assert warnings(maps, cues={"depth": 1}) == warnings(maps, cues=5) == [line.partition(" Raise")[0]]


def test_tiny_cues_are_reported() -> None:
    maps = good_maps()
    for one in maps:
        one[one == 1] = NONE
        one[10, 8:12] = 1
    (line,) = warnings(maps)
    assert line.startswith("cat: its cues cover 0.9 % of its 20 images on average, so its objects may be too small")
    assert "Lower cues.background_score" in line
    assert "decay=small_objects" in line


def test_a_class_without_cues_in_most_of_its_images_is_reported() -> None:
    lines = warnings(good_maps(), [(1, 2)] * 20)
    assert [line.partition(".")[0] for line in lines] == ["dog: no cue in 20 of 20 images with this label"]


def test_images_without_a_background_cue_are_reported() -> None:
    maps = good_maps()
    for one in maps[:3]:
        one[one == 0] = NONE
    (line,) = warnings(maps)
    assert line.startswith("3 of 20 images have no background cue")
    assert warnings([*maps[2:], *good_maps()]) == []  # 1 of 38


def test_background_in_the_four_corners_of_nearly_all_images_is_reported() -> None:
    maps = good_maps()
    for one in maps:
        one[one == 0] = NONE
        one[:3, :3] = one[:3, -3:] = one[-3:, :3] = one[-3:, -3:] = 0
    maps[0][:] = np.where(maps[0] == 0, NONE, maps[0])
    settings = {"share": 0.1, "smooth": 4.0}
    (line,) = warnings([*maps, *maps, *maps], cues=settings)
    assert line.startswith(
        "Background cues: 94 % lie at the same 34 of 441 grid cells, whatever the 60 images show, and"
    )
    assert "times as dense near the frame of the image as inside" in line
    assert "Raise cues.share of make_cues.py. Lower cues.smooth of make_cues.py." in line
    (line,) = warnings([*maps, *maps, *maps], cues={**settings, "smooth": 0})
    assert "Raise cues.share" in line
    assert "cues.smooth" not in line


def test_images_of_background_alone_do_not_count_as_the_same_places() -> None:
    empty = [np.zeros((SIDE, SIDE), dtype=np.uint8)] * 40
    assert warnings([*good_maps(), *empty], [(1,)] * 20 + [()] * 40) == []


def test_cues_of_a_class_along_the_frame_are_reported() -> None:
    maps = good_maps()
    for one in maps:
        one[:, 0] = one[:, -1] = 1
    (line,) = warnings(maps)
    assert line.startswith("cat: its cues follow the frame of the image: they are 3.0 times as dense")


@pytest.mark.parametrize("seed", range(3))
def test_sameness_is_0_by_chance_and_1_for_equal_maps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    chance = (rng.random((2000, 30, 30)) < 0.1).sum(0)
    assert sameness(chance, 2000)[0] == pytest.approx(0, abs=0.02)
    same = 2000 * (rng.random((30, 30)) < 0.1)
    assert sameness(same, 2000) == (1, np.count_nonzero(same))
    half = (same + chance) / 2
    assert 0.3 < sameness(half, 2000)[0] < SAME_PLACES + 0.1


def test_degenerate_places_are_no_warning() -> None:
    for places in (np.zeros((5, 5), int), np.full((5, 5), 7), np.zeros((1, 1), int), np.zeros((2, 2), int)):
        assert sameness(places, 7)[0] == 0
        assert frame_ratio(places) == 1
    assert frame_ratio(np.pad(np.zeros((3, 3)), 1, constant_values=1)) == float("inf")


def test_few_images_have_no_warning_about_places() -> None:
    maps = good_maps(2)
    for one in maps:
        one[one == 0] = NONE
        one[:3, :3] = 0
    assert warnings(maps) == []


def test_cues_of_which_less_than_half_lie_on_their_class_are_reported_with_the_number_of_masks() -> None:
    maps = good_maps(4)
    truth = np.zeros((SIDE, SIDE), dtype=np.uint8)
    truth[6:14, 6:9] = 1  # 24 of the 64 cue cells: 38 %; the background cues lie on background
    store = store_of(maps, [(1,)] * 4, **RECIPE)
    masks = {name: Path(name) for name in store.names[:3]}
    (line,) = cue_warnings(count_cues(store, NAMES, masks, read=lambda _: truth), store.provenance)
    assert line == (
        "cat: 38 % of its cue cells lie on it, in 3 masks. Raise cues.threshold or cues.background_score of "
        "make_cues.py. For small objects, localization.foreground.background_share=0.8 gives narrower maps. More "
        "images and a larger input (localization.foreground.network.input_size) give better maps."
    )
    truth[6:14, 6:10] = 1  # half
    assert cue_warnings(count_cues(store, NAMES, masks, read=lambda _: truth), store.provenance) == []


def test_background_cues_on_objects_are_reported_and_few_cells_are_not() -> None:
    maps = good_maps(4)
    store = store_of(maps, [(1,)] * 4, **RECIPE)
    masks = {name: Path(name) for name in store.names}
    everywhere = np.ones((SIDE, SIDE), dtype=np.uint8)
    (line,) = cue_warnings(count_cues(store, NAMES, masks, read=lambda _: everywhere), store.provenance)
    assert line.startswith("background: 0 % of its cue cells lie on it, in 4 masks. Lower cues.share of make_cues.py.")
    void = np.full((SIDE, SIDE), NONE, dtype=np.uint8)
    void[6, 6:14] = 0  # 8 cue cells of the cat, all wrong, in one mask
    assert cue_warnings(count_cues(store, NAMES, dict(list(masks.items())[:1]), read=lambda _: void), RECIPE) == []


def test_classes_that_are_not_scored_are_not_reported() -> None:
    maps = good_maps()
    for one in maps:
        one[one == 1] = NONE
    store = store_of(maps, [(1, 2)] * 20, **RECIPE)
    counts = count_cues(store, NAMES)
    assert [line[:3] for line in cue_warnings(counts, store.provenance)] == ["cat", "dog"]
    assert [line[:3] for line in cue_warnings(counts, store.provenance, ["background", "dog"])] == ["dog"]
