"""Calls of many threads, joined to batches: an accelerator is faster at several images than at one after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch
from torch import Tensor


class Batched:
    """``function`` of images (B, 3, H, W), for threads that each call it with their own (1, 3, H, W).

    What comes while a batch is computed waits, and goes as the next batch, by whichever thread gets its turn first.
    Images of different sizes go apart.

    Args:
        function: images (B, 3, H, W) to (B, ...).
        most: images in a batch.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], most: int = 16) -> None:
        self.function, self.most = function, most
        self._waiting: list[_Call] = []
        self._list, self._turn = threading.Lock(), threading.Lock()

    def __call__(self, image: Tensor) -> Tensor:
        own = _Call(image)
        with self._list:
            self._waiting.append(own)
        with self._turn:
            if own.result is None:
                self._compute(self._batch_with(own))
        if isinstance(own.result, BaseException):
            raise own.result
        assert own.result is not None
        return own.result

    def _batch_with(self, own: _Call) -> list[_Call]:
        with self._list:
            others = [call for call in self._waiting if call is not own and call.image.shape == own.image.shape]
            batch = [own, *others[: self.most - 1]]
            self._waiting = [call for call in self._waiting if call not in batch]
        return batch

    def _compute(self, batch: list[_Call]) -> None:
        try:
            results = self.function(torch.cat([call.image for call in batch]))
            if results.is_cuda:
                torch.cuda.current_stream(results.device).synchronize()  # meanwhile the next batch gathers
            for number, call in enumerate(batch):
                call.result = results[number : number + 1]
        except BaseException as error:
            for call in batch:
                call.result = error


class _Call:
    def __init__(self, image: Tensor) -> None:
        self.image = image
        self.result: Tensor | BaseException | None = None
