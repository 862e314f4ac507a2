"""Differences between sets of runs and their intervals."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from secseg.evaluation.bootstrap import bootstrap_difference

SCORED = (0, 2)


def counts(runs: int, images: int, seed: int, right: float = 5.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.poisson(np.eye(3) * right + 1, (runs, images, 3, 3))


def sparse(counts: np.ndarray) -> list[csr_array]:
    return [csr_array(run.reshape(len(run), 9)) for run in counts]


def test_the_interval_is_that_of_drawn_images_in_plain_loops() -> None:
    first, second = counts(2, 12, 0), counts(3, 12, 1, right=8.0)
    found = bootstrap_difference(sparse(first), sparse(second), SCORED, draws=150, seed=3)
    draws = np.random.default_rng(3).multinomial(12, [1 / 12] * 12, size=150)
    differences = []
    for times in draws:
        means = []
        for runs in (first, second):
            values = []
            for run in runs:
                total = sum(number * image for number, image in zip(times, run, strict=True))
                iou = [total[c, c] / (total[c].sum() + total[:, c].sum() - total[c, c]) for c in SCORED]
                values.append(sum(iou) / len(iou))
            means.append(sum(values) / len(values))
        differences.append(means[1] - means[0])
    np.testing.assert_allclose(found[1:], np.quantile(differences, [0.025, 0.975]))
    assert found.low < found.difference < found.high


def test_runs_compared_with_themselves_do_not_differ() -> None:
    same = sparse(counts(2, 5, 0))
    assert bootstrap_difference(same, same, SCORED) == (0, 0, 0)


def test_a_clear_difference_is_distinguished_from_none() -> None:
    assert bootstrap_difference(sparse(counts(1, 60, 0, 3.0)), sparse(counts(1, 60, 1, 9.0)), SCORED).low > 0
    unclear = bootstrap_difference(sparse(counts(1, 60, 0)), sparse(counts(1, 60, 1)), SCORED)
    assert unclear.low < 0 < unclear.high
