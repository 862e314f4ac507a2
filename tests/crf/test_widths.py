"""Spatial widths that fit the size of the image, and of the objects in it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from secseg.crf import build_stage_crf
from secseg.crf.widths import LEAST, FittedCRF, foreground_share, width_divisor
from secseg.utils.errors import UserError
from tests.crf import textured
from tests.crf.test_build import PAPER

LATTICE = {"backend": "lattice", "channels": "rgb", "scale": 1, **PAPER}


@pytest.mark.parametrize(("size", "divisor"), [((20, 10), 2.0), ((40, 30), 1.0), ((30, 60), 2 / 3)])
def test_relative_widths_are_in_proportion_to_the_longest_side(size: tuple[int, int], divisor: float) -> None:
    relative, plain = (build_stage_crf({**LATTICE, **one}) for one in ({"widths_at": 40}, {"scale": divisor}))
    logits, images = textured((1, 3, *size))
    assert torch.equal(relative(logits, images), plain(logits, images))


@pytest.mark.parametrize(
    ("share", "full", "width"), [(0.2, 0.2, 80), (0.9, 0.2, 80), (0.05, 0.2, 40), (0.1, 1, 80 * math.sqrt(0.1))]
)
def test_the_width_is_in_proportion_to_the_side_of_the_foreground_up_to_that_of_the_paper(
    share: float, full: float, width: float
) -> None:
    assert 80 / width_divisor(share, full) == pytest.approx(width)


def test_an_image_without_foreground_gets_the_smallest_widths() -> None:
    assert 1 / width_divisor(0.0, 0.2) == LEAST


@pytest.mark.parametrize("seed", range(5))
def test_the_foreground_is_where_another_class_than_the_background_is_best(seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=(4, 7, 9))
    expected = sum(scores[1:, y, x].max() > scores[0, y, x] for y in range(7) for x in range(9)) / 63
    assert foreground_share(torch.from_numpy(scores)) == pytest.approx(expected)


def test_each_image_of_a_batch_gets_the_widths_of_its_own_foreground_and_size() -> None:
    logits, images = textured((2, 3, 20, 30))
    logits[1, 1:, :, 3:] -= 50
    shares = [foreground_share(one) for one in logits]
    assert shares[1] < 0.1 < 0.5 < shares[0]
    built = build_stage_crf({**LATTICE, "widths_at": 60, "widths_from": 0.5})
    for number, share in enumerate(shares):
        divisor = 2 * max(1, min(math.sqrt(0.5 / share), 4))
        alone = build_stage_crf({**LATTICE, "scale": divisor})
        expected = alone(logits[number : number + 1], images[number : number + 1])
        assert torch.allclose(built(logits, images)[number], expected[0], atol=1e-6)


def test_a_thin_object_keeps_more_of_its_area() -> None:
    """A bar of 4 pixels, of a colour near to that of the background, and soft probabilities as of a coarse mask."""
    bar = torch.zeros(120, 200)
    bar[58:62] = 1
    near = torch.nn.functional.avg_pool2d(bar[None, None], 9, 1, 4)[0, 0]
    foreground = 0.05 + 0.75 * near / near.max()
    logits = torch.stack([1 - foreground, foreground]).log()[None]
    images = (100 + 15 * bar).expand(1, 3, -1, -1).to(torch.uint8)
    kept = []
    for share in (None, 0.5):
        probs = build_stage_crf({**LATTICE, "widths_from": share})(logits, images)
        kept.append(float((probs[0, 1] > 0.5)[58:62].float().mean()))
    assert kept[0] < 0.1
    assert kept[1] > 0.9


def test_widths_for_no_size_are_the_same_for_all_images_and_a_wrong_size_is_refused() -> None:
    for key, wrong in (("widths_at", -1), ("widths_from", 1.5)):
        for given in (None, "auto"):
            assert type(build_stage_crf({**LATTICE, key: given})) is type(build_stage_crf(LATTICE))
        assert build_stage_crf({**LATTICE, "backend": "none", key: 0.5}) is None
        with pytest.raises(UserError, match=rf"crf\.test\.{key}={wrong}"):
            build_stage_crf({**LATTICE, key: wrong})


def test_a_crf_is_built_once_for_images_of_the_same_size() -> None:
    built: list[float] = []

    def build(divisor: float):
        built.append(divisor)
        return lambda logits, images: logits

    crf = FittedCRF(build, widths_at=20)
    for _ in range(3):
        crf(torch.zeros(2, 2, 10, 10), torch.zeros(2, 3, 10, 10, dtype=torch.uint8))
    assert built == [1.0, 2.0]
