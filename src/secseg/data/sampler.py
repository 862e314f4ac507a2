"""The order of the images in training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from secseg.utils.errors import UserError


class ShuffledSampler(Sampler[list[tuple[int, bool]]]):
    """Batch sampler for a whole run: batches of (image number, mirrored), one shuffled epoch after the other.

    The order and the mirroring of an epoch depend only on ``seed`` and the number of the epoch, not on workers,
    resumption or the number of processes. A batch may span two epochs, so all batches have the same size. A run that
    resumes at step ``start`` gets the same batches as an uninterrupted run.

    Args:
        size: number of images.
        batch_size: images per step and process.
        steps: number of steps of the whole run; the length of the sampler.
        seed: of the order and the mirroring.
        mirror: mirror each image with probability 1/2.
        start: first step to yield.
        rank, world: number of this process and number of processes, which share the images of each step.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        steps: int,
        seed: int,
        mirror: bool,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if size < 1 or batch_size < 1:
            raise UserError(f"Cannot make batches of {batch_size} from {size} images: both must be at least 1.")
        self.size, self.batch_size, self.steps = size, batch_size, steps
        self.seed, self.mirror = seed, mirror
        self.start, self.rank, self.world = start, rank, world

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[tuple[int, bool]]]:
        at_once = self.batch_size * self.world
        epoch = -1
        for step in range(self.start, self.steps):
            batch = []
            for position in range(step * at_once + self.rank, (step + 1) * at_once, self.world):
                if position // self.size != epoch:
                    epoch = position // self.size
                    order, mirrored = self._epoch(epoch)
                batch.append((int(order[position % self.size]), bool(mirrored[position % self.size])))
            yield batch

    def _epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(self.size)
        mirrored = rng.random(self.size) < 0.5
        return order, mirrored if self.mirror else np.zeros(self.size, bool)
