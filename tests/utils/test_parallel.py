"""Work in threads keeps its order and errors. Calls of several threads form batches, and each gets its own result."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from secseg.utils.parallel import Batched, in_parallel


class Held:
    """A function that waits in its first call, so that other calls queue, and records the size of each batch."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.entered, self.go = threading.Event(), threading.Event()

    def __call__(self, images: Tensor) -> Tensor:
        self.sizes.append(len(images))
        self.entered.set()
        self.go.wait(10)
        if bool((images < 0).any()):
            raise ValueError("below 0")
        return images.flatten(1).sum(1)


def gathered(images: list[Tensor], most: int = 16) -> tuple[Held, list[Tensor | Exception]]:
    """Call with the first image, and with all others during that call. Return the result of each, or its error."""
    function = Held()
    batched = Batched(function, most)

    def one(image: Tensor) -> Tensor | Exception:
        try:
            return batched(image)
        except ValueError as error:
            return error

    with ThreadPoolExecutor(len(images)) as pool:
        first = pool.submit(one, images[0])
        assert function.entered.wait(10)
        others = [pool.submit(one, image) for image in images[1:]]
        while len(batched._waiting) < len(others):
            pass
        function.go.set()
        return function, [future.result() for future in (first, *others)]


def test_waiting_calls_form_one_batch_and_each_gets_its_result() -> None:
    images = [torch.full((1, 3, 2, 2), float(number)) for number in range(6)]
    function, results = gathered(images)
    assert function.sizes == [1, 5]
    assert [float(result) for result in results] == [12.0 * number for number in range(6)]
    assert gathered(images, most=2)[0].sizes == [1, 2, 2, 1]


def test_images_of_other_sizes_form_other_batches() -> None:
    images = [torch.ones(1, 3, side, side) for side in (2, 2, 3, 2, 3)]
    function, results = gathered(images)
    assert sorted(function.sizes) == [1, 2, 2]
    assert [float(result) for result in results] == [12, 12, 27, 12, 27]


def test_an_error_reaches_every_caller_of_its_batch_and_no_other() -> None:
    first, bad, other = torch.ones(1, 3, 2, 2), -torch.ones(1, 3, 2, 2), torch.ones(1, 3, 2, 2)
    _, results = gathered([first, bad, other])
    assert float(results[0]) == 12
    assert [type(result) for result in results[1:]] == [ValueError, ValueError]
    assert pytest.approx(12) == float(Batched(lambda x: x.flatten(1).sum(1))(first)[0])


def test_parallel_work_keeps_its_order_and_its_exceptions() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise OSError("broken")
        return number * number

    threads = torch.get_num_threads()
    results = list(in_parallel(work, range(6), workers=3))
    assert [item for item, _ in results] == list(range(6))
    assert [result for _, result in results if not isinstance(result, Exception)] == [0, 1, 4, 16, 25]
    assert isinstance(results[3][1], OSError)
    assert torch.get_num_threads() == threads


def test_parallel_work_reads_few_items_ahead(tmp_path: Path) -> None:
    read = []

    def items():  # type: ignore[no-untyped-def]
        for number in range(100):
            read.append(number)
            yield number

    stream = in_parallel(lambda number: number, items(), workers=2)
    next(stream)
    assert len(read) <= 4
    stream.close()  # type: ignore[attr-defined]
