"""The order of training images."""

from __future__ import annotations

from collections import Counter

import pytest

from secseg.data.sampler import ShuffledSampler
from secseg.utils.errors import UserError


def batches(**options):
    return list(ShuffledSampler(**{"size": 10, "batch_size": 4, "steps": 10, "seed": 0, "mirror": True, **options}))


def test_each_epoch_shows_every_image_once_and_no_batch_is_short() -> None:
    flat = [number for batch in batches() for number, _ in batch]
    assert all(len(batch) == 4 for batch in batches())
    for epoch in range(4):
        assert Counter(flat[10 * epoch : 10 * (epoch + 1)]) == Counter(range(10))


def test_the_order_depends_on_the_seed_and_differs_between_epochs() -> None:
    assert batches() == batches()
    assert batches() != batches(seed=1)
    flat = [number for batch in batches() for number, _ in batch]
    assert flat[:10] != flat[10:20]


def test_a_resumed_run_sees_the_batches_of_an_uninterrupted_run() -> None:
    assert batches(start=7) == batches()[7:]
    assert len(ShuffledSampler(10, 4, 10, 0, True, start=7)) == 10


def test_processes_share_out_each_step_of_the_same_order() -> None:
    whole = batches(batch_size=4)
    first, second = batches(batch_size=2, rank=0, world=2), batches(batch_size=2, rank=1, world=2)
    assert [sorted(a + b) for a, b in zip(first, second, strict=True)] == [sorted(batch) for batch in whole]


def test_images_are_mirrored_with_probability_one_half_and_only_on_request() -> None:
    flags = [flag for batch in batches(size=100, steps=100) for _, flag in batch]
    assert 0.4 < sum(flags) / len(flags) < 0.6
    assert not any(flag for batch in batches(mirror=False) for _, flag in batch)


@pytest.mark.parametrize("options", [{"size": 0}, {"batch_size": 0}])
def test_an_empty_batch_or_set_is_refused(options) -> None:
    with pytest.raises(UserError, match="at least 1"):
        batches(**options)
