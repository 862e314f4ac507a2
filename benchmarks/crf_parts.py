"""The lattice CRF on one thread: the time and the bytes of its parts, and its CPU time compared with pydensecrf's.

    python -m benchmarks.crf_parts --root <VOC2012> --ckpt <run folder>     without them: a drawn image

The times are CPU times, so that other load on the machine changes them little. Each part runs alone, on the data of one
image of 500 x 375 with 10 iterations, so the sum of the parts differs from the whole. The comparison is on many images,
with their labels, as in benchmarks/crf.py.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks import crf
from benchmarks.compare import alternate, digits, ratios, report
from benchmarks.crf import PAPER, SIZE
from benchmarks.scenes import Scene, add_arguments, find_scenes
from secseg.crf import build_crf
from secseg.densecrf.mean_field import _blur, _update, gaussian_lattice, mean_field
from secseg.densecrf.packed import empty_packed, pack, packed_width, unpack
from secseg.densecrf.permutohedral import build_lattice
from secseg.inference.full_size import predict_mask
from secseg.inference.predictor import Predictor, Protocol


def parts(image: np.ndarray, scores: np.ndarray, rounds: int) -> str:
    """Return a table of the parts for an image (3, H, W) uint8 and scores (C, H * W) float32."""
    n, width = SIZE[0] * SIZE[1], packed_width(len(scores))
    row, unary, probs = (0,) * width, empty_packed(n * width), np.empty_like(scores)

    def build() -> Any:
        return build_lattice(*SIZE, PAPER.bilateral_weight, PAPER.bilateral_xy, image, PAPER.bilateral_rgb)

    kernels = build(), gaussian_lattice(*SIZE, PAPER.gaussian_weight, PAPER.gaussian_xy)
    sources, targets = (tuple(empty_packed((kernel.points + 2) * width) for kernel in kernels) for _ in range(2))
    sizes = [(0,) * kernel.corners.shape[1] for kernel in kernels]
    simplices = [(kernel.corners, kernel.weights) for kernel in kernels]

    def update() -> None:
        _update(unary, row, *sizes, *simplices, sources, targets, 0, n, True, True)

    def blur() -> None:
        for grid, kernel in zip(sources, kernels, strict=True):
            grid[:] = 0
            _blur(grid[None], kernel.reads, kernel.writes, kernel.bounds, row)

    corners, each = sum(map(len, sizes)), 4 * width
    passed = PAPER.iterations + 1
    ways: dict[str, tuple[int, int, Callable[[], Any]]] = {  # calls, bytes of a call
        "build the bilateral lattice": (1, n * (5 * 4 + 6 * 8), build),
        "pack the scores": (1, n * (4 * len(scores) + each), lambda: pack(scores, unary, width, 0, n)),
        "slice, softmax, splat": (passed, n * (each + 8 * corners + 3 * corners * each), update),
        "blur": (PAPER.iterations, sum(len(kernel.reads) for kernel in kernels) * (8 + 2 * each), blur),
        "unpack the probabilities": (1, n * (4 * len(scores) + each), lambda: unpack(unary, probs, width, 0, n)),
    }
    pack(scores, unary, width, 0, n)
    for grid in sources:
        grid[:] = 0.01
    calls: dict[str, Callable[[], Any]] = {name: way for name, (_, _, way) in ways.items()}
    calls["all"] = lambda: mean_field(scores, probs, (build(), kernels[1]), PAPER.iterations)
    middle = {
        name: 1000 * float(np.median(seconds))
        for name, seconds in alternate(calls, rounds, clock=time.thread_time).items()
    }
    whole = sum(count * middle[name] for name, (count, _, _) in ways.items())
    rows = ["| part | calls | ms of all calls | share, % | GB of all calls |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, (count, size, _) in ways.items():
        spent = count * middle[name]
        rows.append(
            f"| {name} | {count} | {digits(spent)} | {100 * spent / whole:.1f} | {digits(count * size / 1e9)} |"
        )
    return "\n".join([*rows, f"| all, measured as a whole | 1 | {digits(middle['all'])} | | |"])


def compared(scenes: list[Scene]) -> str:
    """Return a table of the CPU time for the labels of each image, with all labels and without improbable ones."""
    crf.INHERITED[:] = [(scene.probs(), scene.image) for scene in scenes]
    lattice = build_crf("lattice", PAPER)
    network = crf._NoNetwork(len(scenes[0].scores))
    seconds: dict[str, list[float]] = {crf.PEERS: [], "lattice": [], "lattice, without labels below 0.05": []}
    for number, (probs, image) in enumerate(crf.INHERITED):
        ways: dict[str, Callable[[], Any]] = {crf.PEERS: partial(crf.peer, number)}
        for name, drop in zip(list(seconds)[1:], (0.0, 0.05), strict=True):
            predictor = Predictor(network, Protocol(drop_labels_below=drop), lattice)
            ways[name] = partial(_mask, predictor, probs, image)
        for name, values in alternate(ways, 1, clock=time.thread_time).items():
            seconds[name] += values
    rows = ["| way | median, ms per image | times faster |", "| --- | ---: | ---: |"]
    faster = ratios(seconds, crf.PEERS)
    rows += [f"| {name} | {digits(1000 * float(np.median(v)))} | {faster[name]:.2f} |" for name, v in seconds.items()]
    return f"{len(scenes)} images, 21 labels.\n\n" + "\n".join(rows)


def _mask(predictor: Predictor, probs: torch.Tensor, image: np.ndarray) -> np.ndarray:
    return predict_mask(*predictor.refine(probs, image))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--images", type=int, default=10, help="number of images that are compared (10)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    scenes, what = find_scenes(arguments, arguments.images)
    image = np.ascontiguousarray(scenes[0].resized(SIZE).transpose(2, 0, 1))
    sections = {"Compared with pydensecrf": compared(scenes)}
    for labels in (21, 5):
        scores = scenes[0].probs(SIZE, labels).clamp(min=1e-5).log().flatten(1).contiguous().numpy()
        sections[f"{SIZE[1]} x {SIZE[0]}, {labels} labels"] = parts(image, scores, arguments.rounds)
    report("crf_parts", f"Parts of the lattice CRF, CPU time of one thread: {what}", sections)


if __name__ == "__main__":
    main()
