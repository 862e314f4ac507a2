"""The Numba lattice against pydensecrf and against the exact kernels."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from secseg.crf import CRF, CRFParams, build_crf
from secseg.utils.errors import UserError
from tests.crf import TRAINING, real_images, scores, textured

Official = Callable[..., CRF]
# Ten iterations enlarge rounding where two classes are close: with scores that differ in the last bit only,
# pydensecrf itself moves by 2e-4 at the training widths (40 images), by 8e-5 on textures, and by 4e-6 on
# images at full size (6 of them).
AMPLIFIED, AT_FULL_SIZE = 1e-4, 1e-5


def assert_equal(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> None:
    assert (ours - theirs).abs().max() < tolerance
    assert torch.equal(ours.argmax(1), theirs.argmax(1))


@pytest.mark.parametrize(
    ("size", "params"),
    [
        ((3, 21, 41, 41), TRAINING),
        ((2, 2, 40, 38), TRAINING),
        ((1, 21, 90, 120), CRFParams()),
        ((1, 5, 91, 121), CRFParams().scaled(3)),
        ((1, 3, 45, 61), CRFParams(3, 30, 5, 1, 2, iterations=3)),
    ],
)
def test_lattice_equals_pydensecrf_on_textures(
    official: Official, size: tuple[int, int, int, int], params: CRFParams
) -> None:
    logits, images = textured(size, seed=1)
    assert_equal(build_crf("lattice", params)(logits, images), official(params)(logits, images), AMPLIFIED)


def test_lattice_has_the_points_of_the_padding_in_pydensecrf(official: Official) -> None:
    """117 pixels leave three of a block of four as padding, whose points matter for a dark image."""
    logits, images = textured((1, 3, 9, 13))
    images //= 8
    ours, theirs = build_crf("lattice", TRAINING)(logits, images), official(TRAINING)(logits, images)
    assert_equal(ours, theirs, AMPLIFIED)


def test_lattice_equals_pydensecrf_on_real_images_at_41(official: Official, voc_animals: Path) -> None:
    images = torch.cat(real_images(voc_animals, 15, 41))
    logits = scores((15, 21, 41, 41))
    ours, theirs = build_crf("lattice", TRAINING)(logits, images), official(TRAINING)(logits, images)
    assert_equal(ours, theirs, AMPLIFIED)


def test_lattice_equals_pydensecrf_on_real_images_at_full_size(official: Official, voc_animals: Path) -> None:
    for image in real_images(voc_animals, 2):
        logits = scores((1, 7, *image.shape[2:]))
        ours, theirs = build_crf("lattice", CRFParams())(logits, image), official(CRFParams())(logits, image)
        assert_equal(ours, theirs, AT_FULL_SIZE)


def test_exact_and_lattice_agree_on_most_labels_of_real_images(voc_animals: Path) -> None:
    images = torch.cat(real_images(voc_animals, 15, 41))
    logits = scores((15, 21, 41, 41))
    exact, lattice = (build_crf(backend, TRAINING)(logits, images).argmax(1) for backend in ("exact", "lattice"))
    agreement = (exact == lattice).float().mean((1, 2))
    assert agreement.min() > 0.93
    assert 0.95 < agreement.mean() < 0.99  # an approximation: equal results would mean one and the same backend


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    logits, images = textured((5, 4, 23, 19))
    crf, threads = build_crf("lattice", TRAINING), torch.get_num_threads()
    try:
        results = [(torch.set_num_threads(n), crf(logits, images))[1] for n in (1, 4)]
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)


def test_integer_weights_do_not_compile_the_functions_again() -> None:
    from secseg.densecrf import mean_field, permutohedral, points

    logits, images = textured((1, 2, 6, 5))
    functions = (mean_field._update, mean_field._blur, permutohedral._find, permutohedral._normalise, points.follow)
    compiled = []
    for one in (1.0, 1):
        build_crf("lattice", CRFParams(one, 3 * one, 13 * one, one, one, iterations=1))(logits, images)
        compiled.append([len(function.signatures) for function in functions])
    assert compiled[0] == compiled[1]


def test_a_large_image_in_parts_gives_the_same_on_one_thread_and_on_two(official: Official) -> None:
    logits, images = textured((1, 9, 256, 260))  # two parts, and two groups of labels
    crf, threads = build_crf("lattice", CRFParams()), torch.get_num_threads()
    try:
        results = [(torch.set_num_threads(n), crf(logits, images))[1] for n in (1, 2)]
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)
    assert_equal(results[0], official(CRFParams())(logits, images), AMPLIFIED)


def test_nan_scores_do_not_become_probabilities() -> None:
    logits, images = textured((1, 3, 9, 8))
    logits[0, 1, 4, 4] = torch.nan
    assert build_crf("lattice", TRAINING)(logits, images).isnan().any()


@pytest.mark.parametrize("width", ["bilateral_xy", "bilateral_rgb", "gaussian_xy"])
def test_widths_too_small_for_the_lattice_are_refused(width: str) -> None:
    logits, images = textured((1, 2, 9, 8))
    with pytest.raises(UserError, match=r"too small for the lattice.*standard deviations"):
        build_crf("lattice", CRFParams(**{width: 1e-9}))(logits, images)


def test_narrow_widths_still_give_probabilities() -> None:
    """At the largest coordinates that are accepted, no pixel falls out of its simplex."""
    logits, images = textured((1, 3, 40, 60))
    probs = build_crf("lattice", CRFParams(bilateral_xy=0.06, bilateral_rgb=0.26, gaussian_xy=0.0015))(logits, images)
    torch.testing.assert_close(probs.sum(1), torch.ones(1, 40, 60))


def test_a_full_size_image_takes_seconds_not_minutes() -> None:
    logits, images = textured((1, 3, 375, 500))
    crf = build_crf("lattice", CRFParams())
    crf(logits[..., :8, :8], images[..., :8, :8])  # compiled
    started = time.process_time()
    crf(logits, images)
    assert time.process_time() - started < 20
