"""Work on several images at once, in threads: networks, the CRF and the reading of images release the interpreter's
lock."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from secseg.utils.errors import UserError
from secseg.utils.progress import ImageMeter

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None
) -> Generator[tuple[Item, Result | Exception], None, None]:
    """Yield each item with the result of ``work``, or with the exception that it raised, in the order of ``items``.

    Args:
        work: runs in one of the threads; torch uses an equal share of the cores in each.
        items: read when they are needed: at most twice as many as there are workers are computed or wait for the
            caller.
        workers: number of threads; None for one per core.
    """
    cores = torch.get_num_threads()
    workers = workers or os.cpu_count() or 1
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(max(1, cores // workers),))

    def first() -> tuple[Item, Result | Exception]:
        item, future = waiting.popleft()
        try:
            return item, future.result()
        except Exception as error:
            return item, error

    try:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) >= 2 * workers:
                yield first()
        while waiting:
            yield first()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)


def results_of(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None
) -> Generator[tuple[Item, Result], None, None]:
    """Yield each item with the result of ``work``, as ``in_parallel`` does, but raise the first exception."""
    with closing(in_parallel(work, items, workers)) as results:
        for item, result in results:
            if isinstance(result, Exception):
                raise result
            yield item, result


def with_progress(
    title: str, work: Callable[[Item], Result], items: Sequence[Item], workers: int | None = None
) -> list[Result]:
    """Return the results of ``results_of``, and show the progress under ``title`` meanwhile."""
    found = []
    with ImageMeter(title, len(items)) as meter, closing(results_of(work, items, workers)) as results:
        for _, result in results:
            found.append(result)
            meter.update()
    return found


def results_and_problems(
    work: Callable[[Item], Result], items: Iterable[Item]
) -> tuple[list[Result | None], list[UserError]]:
    """Return the result of ``work`` for each item, None where it raised a UserError, and these errors. Other
    exceptions are raised."""
    results: list[Result | None] = []
    problems = []
    with closing(in_parallel(work, items)) as found:
        for _, result in found:
            if isinstance(result, UserError):
                problems.append(result)
                results.append(None)
            elif isinstance(result, Exception):
                raise result
            else:
                results.append(result)
    return results, problems


class Batched:
    """Calls ``function`` with batches, while each of several threads calls this object with one image (1, 3, H, W).

    Images that arrive while a batch is computed form the next batch, which one of the waiting threads computes. A batch
    holds images of one size.

    Args:
        function: takes images (B, 3, H, W) and returns (B, ...).
        most: largest number of images in a batch.
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
            if not own.result.done():
                self._compute(self._batch_with(own))
        return own.result.result()

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
                torch.cuda.current_stream(results.device).synchronize()  # meanwhile images of the next batch arrive
            for number, call in enumerate(batch):
                call.result.set_result(results[number : number + 1])
        except BaseException as error:
            for call in batch:
                call.result.set_exception(error)


@dataclass(eq=False)
class _Call:
    image: Tensor
    result: Future[Tensor] = field(default_factory=Future)
