"""Maps refined by the CRF."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from secseg.crf import CRFParams, build_crf
from secseg.cue_making.refinement import refine
from secseg.data.transforms import crf_image, evaluation_input
from tests.reference.crf import mean_field

CRF = build_crf("exact", CRFParams().scaled(12))


def two_halves(size: int = 33) -> np.ndarray:
    photo = np.full((size, size, 3), 20, np.uint8)
    photo[:, size // 2 :] = 220
    return photo


def test_it_is_the_mean_field_of_the_maps_and_a_constant_background() -> None:
    maps = np.random.default_rng(0).normal(size=(4, 9, 9)).astype(np.float32)
    photo = np.random.default_rng(1).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    probs = refine(maps, (1, 3), photo, 33, CRF, background_score=0.7)
    scores = np.stack([np.full((9, 9), 0.7), maps[0], maps[2]])
    image = crf_image(evaluation_input(photo, 33)[None], (9, 9))[0].numpy()
    expected = mean_field(scores, image, **asdict(CRFParams().scaled(12)))
    assert np.allclose(probs[[0, 1, 3]], expected, atol=1e-5)
    assert not probs[[2, 4]].any()


def test_a_blob_on_one_side_of_an_edge_grows_to_the_edge_and_not_beyond() -> None:
    maps = np.full((1, 9, 9), -0.2, np.float32)
    maps[0, 2:6, 0:3] = 3.0
    probs = refine(maps, (1,), two_halves(), 33, CRF)
    assert (probs[1, :, 5:] < 0.5).all()
    assert (probs[1, :, :4] > 0.5).sum() > 12, "more than the blob"


def test_an_image_without_labels_is_all_background() -> None:
    probs = refine(np.zeros((2, 5, 5), np.float32), (), two_halves(), 33, CRF)
    assert np.array_equal(probs[0], np.ones((5, 5), np.float32))
    assert not probs[1:].any()
