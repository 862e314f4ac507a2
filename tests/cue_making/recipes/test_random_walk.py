"""The recipe that spreads maps by a random walk."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secseg.cue_making.recipes import CueInputs
from secseg.cue_making.recipes.base import scaled_maps
from secseg.cue_making.recipes.random_walk import RandomWalkCues, colours_at, random_walk, transitions
from secseg.data.classes import VOID
from secseg.utils.errors import UserError
from tests.cue_making.recipes.toy import inputs, random_maps
from tests.reference import cues as reference

FEATURES = random_maps(7, (5, 9, 7))


def given(maps: np.ndarray, labels: tuple[int, ...], **others: Any) -> CueInputs:
    return inputs(maps, labels, read_features=lambda: FEATURES, **others)


@pytest.mark.parametrize(("radius", "beta"), [(5.0, 8.0), (1.5, 2.0), (2.0, 0.5), (30.0, 1.0)])
def test_a_step_of_the_walk_is_that_of_the_dense_matrix(radius: float, beta: float) -> None:
    values = 50 * random_maps(0, (3, 6, 4)) + 7
    found = transitions(values, radius, beta).toarray()
    np.testing.assert_allclose(found, reference.transitions(values, radius, beta), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("shares", [False, True], ids=["classifier", "other program"])
@pytest.mark.parametrize("steps", [0, 1, 8])
def test_cues_are_two_thresholds_on_the_maps_after_the_power_of_the_dense_matrix(steps: int, shares: bool) -> None:
    maps = np.random.default_rng(0).random((4, 9, 7)).astype(np.float32) if shares else random_maps(1)
    maps[[1, 3]] *= shares
    own = maps[[0, 2]] if shares else scaled_maps(maps)[[0, 2]]
    walked = reference.random_walk(own, reference.transitions(FEATURES, 5, 4), steps)
    high, low = np.quantile(walked.max(0), [0.7, 0.3]).tolist()
    expected = np.where(walked.max(0) > high, 1 + 2 * walked.argmax(0), np.where(walked.max(0) <= low, 0, VOID))
    recipe = RandomWalkCues("features", beta=4, steps=steps, threshold=high, background=low)
    assert np.mean(recipe(given(maps, (1, 3), shares=shares)) == expected) > 0.96, "but for rounding at the thresholds"


@pytest.mark.parametrize("affinity", ["features", "colours"])
def test_a_map_spreads_to_an_edge_and_not_beyond(affinity: str) -> None:
    image = np.full((90, 90, 3), 20, np.uint8)
    image[:, 50:] = 220
    maps = np.full((1, 9, 9), -1.0, np.float32)
    maps[0, 1:8, 0:4] = 3.0
    features = np.random.default_rng(0).normal(0, 0.01, (4, 9, 9))
    features[:, :, 5:] += 1
    recipe = RandomWalkCues(affinity, steps=256)
    cues = recipe(inputs(maps, (1,), read_image=lambda: image, read_features=lambda: features))
    assert (cues[:, :5] == 1).all()
    assert (cues[:, 5:] == 0).all()
    assert recipe.needs == (("features",) if affinity == "features" else ())


def test_each_step_keeps_constant_maps_and_many_steps_even_out_what_is_connected() -> None:
    matrix = transitions(FEATURES, 3, 1)
    np.testing.assert_allclose(random_walk(np.ones((2, 9, 7)), matrix, 50), 1)
    maps = np.random.default_rng(0).random((2, 9, 7))
    walked = random_walk(maps, matrix, 400)
    assert np.ptp(walked, axis=(1, 2)).max() < 1e-3
    assert (walked.min((1, 2)) > maps.min((1, 2))).all()


def test_a_constant_image_has_equal_neighbours_and_a_lonely_cell_stays() -> None:
    matrix = transitions(np.full((3, 4, 5), 8.0), 1.1, 8).toarray()
    assert matrix[6, [6, 1, 5, 7, 11]].tolist() == pytest.approx([0.2] * 5)
    assert transitions(np.ones((3, 1, 1))).toarray().tolist() == [[1]]


def test_colours_are_the_means_of_the_cells() -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    means = image.reshape(3, 2, 4, 2, 3).mean((1, 3)).transpose(2, 0, 1)
    np.testing.assert_allclose(colours_at(image, (3, 4)), means, atol=1.01)


def test_all_settings_out_of_range_are_listed() -> None:
    with pytest.raises(UserError) as raised:
        RandomWalkCues("colors", 1, 0, -1, 1.0, 1)
    for key in ("affinity=colors", "radius=1", "beta=0", "steps=-1", "threshold=1.0", "background=1"):
        assert f"cues.{key}" in str(raised.value)
    assert "colours" in str(raised.value)
