"""Seeded region growing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from secseg.losses import SECLoss, build_terms, grow_seeds
from secseg.losses.growing import Growing
from tests.losses.test_terms import PAPER, example
from tests.reference import losses as reference


def grid(rows: str) -> torch.Tensor:
    return torch.tensor([[int(digit) for digit in row] for row in rows.split()])


def one_hot(classes: torch.Tensor, count: int = 3) -> torch.Tensor:
    return torch.stack([classes == c for c in range(count)])[None]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("thresholds", [(0.85, 0.99), (0.5, 0.3)])
def test_seeds_are_those_of_the_plain_version(seed: int, thresholds: tuple[float, float]) -> None:
    batch = example(seed, (2, 4, 9, 8))
    cues = batch["cues"] & (torch.rand(batch["cues"].shape, generator=torch.Generator().manual_seed(seed)) < 0.3)
    grown = grow_seeds(cues, batch["q"], batch["labels"], *thresholds)
    for b in range(2):
        image = (batch[key][b].numpy() for key in ("q", "labels"))
        expected = reference.grown(cues[b].numpy(), *image, *thresholds)
        np.testing.assert_array_equal(grown[b].numpy(), expected)


def test_a_region_grows_from_its_cue_to_all_pixels_that_are_connected_also_over_corners() -> None:
    certain = grid("11000 00100 00011 22000")
    cues = one_hot(grid("91999 99999 99999 99999"))
    grown = grow_seeds(cues, one_hot(certain).double(), torch.tensor([[0, 1, 1]]))
    assert torch.equal(grown[0, 1], certain == 1)
    assert not grown[0, 2].any(), "class 2 has no cue"
    assert not grown[0, 0].any(), "the background has no cue"


def test_a_class_that_the_image_does_not_have_never_grows() -> None:
    probs = torch.tensor([0.004, 0.006, 0.99]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    cues = one_hot(grid("19 99"))
    assert torch.equal(grow_seeds(cues, probs, torch.tensor([[0, 1, 0]]), 0.005), one_hot(grid("11 11")))


def test_a_pixel_with_a_cue_of_another_class_stays() -> None:
    cues = one_hot(grid("12999"))
    grown = grow_seeds(cues, one_hot(grid("11111")).double(), torch.tensor([[0, 1, 1]]))
    assert torch.equal(grown, cues)


def test_the_threshold_of_the_background_is_its_own() -> None:
    probs = torch.tensor([0.9, 0.05, 0.05]).view(1, 3, 1, 1).expand(1, 3, 1, 4)
    cues = one_hot(grid("0999"))
    labels = torch.tensor([[0, 1, 1]])
    assert grow_seeds(cues, probs, labels)[0, 0].sum() == 1
    assert grow_seeds(cues, probs, labels, background=0.89)[0, 0].sum() == 4


def test_seed_terms_take_the_grown_seeds_and_the_crf_runs_once() -> None:
    batch = example()
    calls = []

    def crf(*_: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return batch["q"]

    terms = build_terms({"seed": 1.0, "balanced_seed": 1.0, "constrain": 1.0}, growing=True)
    assert {name: "crf" in term.needs for name, term in terms.items()} == dict.fromkeys(terms, True)
    entries = {**batch, "crf_image": batch["images"]}
    grown = SECLoss(terms, PAPER, crf, growing=Growing(0.5, 0.5))(batch["scores"], entries)
    assert len(calls) == 1
    seeds = grow_seeds(batch["cues"], batch["q"], batch["labels"], 0.5, 0.5)
    assert not torch.equal(seeds, batch["cues"])
    plain = SECLoss(terms, PAPER, crf)(batch["scores"], {**entries, "cues": seeds})
    assert all(grown[name].item() == value.item() for name, value in plain.items())
