"""Compare our CRF with pydensecrf: on the training grid, on one image, on many, by size and labels, and in memory.

    python -m benchmarks.crf --root <VOC2012> --ckpt <run folder>     images with the predictions of a network
    python -m benchmarks.crf --only training,image                    some questions; without --root: drawn images

All ways start from probabilities and end with probabilities (on the training grid) or labels (at full size), with the
paper's parameters and 10 iterations. pydensecrf is called as its authors do, on float32, one image at a time.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.compare import alternate, digits, report, timing_table
from benchmarks.scenes import Scene, add_arguments, find_scenes
from secseg.crf import CRFParams, build_crf
from secseg.data.classes import VOC_CLASSES
from secseg.densecrf.mean_field import gaussian_lattice
from secseg.densecrf.packed import packed_width
from secseg.densecrf.permutohedral import build_lattice
from secseg.evaluation import SegmentationScore
from secseg.inference.full_size import FLOOR, apply_crf, predict_mask
from secseg.inference.predictor import Predictor, Protocol
from secseg.utils.device import keep_freed_memory
from secseg.utils.parallel import results_of

PEERS = "pydensecrf"
PAPER, TRAINING = CRFParams(), CRFParams().scaled(12)
SIZE, GRID, BATCH = (375, 500), (41, 41), 15
POOL = f"{PEERS}, pool of 2 processes"
SCORED = ("background", "cat", "cow", "dog", "horse", "person", "sheep")


def refined(backend: str, params: CRFParams, probs: torch.Tensor, image: np.ndarray) -> Callable[[], np.ndarray]:
    """Return a function that computes the labels of the CRF for probabilities (C, H, W)."""
    crf = build_crf(backend, params)
    return lambda: predict_mask(apply_crf(probs, image, crf))


def training(scenes: list[Scene], rounds: int) -> str:
    """Time a batch on the training grid."""
    logits = torch.stack([scene.scores for scene in scenes[:BATCH]])
    images = torch.stack([torch.from_numpy(scene.resized(GRID).transpose(2, 0, 1).copy()) for scene in scenes[:BATCH]])
    crfs = {backend: build_crf(backend, TRAINING) for backend in (PEERS, "lattice", "exact")}
    ways = {backend: lambda crf=crf: crf(logits, images) for backend, crf in crfs.items()}
    ways = {f"{PEERS}, loop" if name == PEERS else name: way for name, way in ways.items()}
    return timing_table(alternate(ways, 3 * rounds), f"{PEERS}, loop")


def one_image(scenes: list[Scene], rounds: int) -> str:
    """Time three images with all labels, one by one."""
    tables = []
    for scene in scenes[:3]:
        probs, image = scene.probs(SIZE), scene.resized(SIZE)
        ways = {f"{PEERS}, one core": refined(PEERS, PAPER, probs, image)}
        for threads in sorted({1, torch.get_num_threads()}):
            ways[f"lattice, {threads} threads"] = with_threads(threads, refined("lattice", PAPER, probs, image))
        tables.append(timing_table(alternate(ways, rounds), f"{PEERS}, one core"))
    return "\n\n".join(tables)


def many_images(scenes: list[Scene], rounds: int) -> str:
    """Time many images at their own sizes on all cores, and compare labels and mean IoU."""
    global INHERITED
    INHERITED = [(scene.probs(), scene.image) for scene in scenes]
    masks: dict[str, list[np.ndarray]] = {}

    def ours(drop: float) -> list[np.ndarray]:
        predictor = Predictor(
            _NoNetwork(len(scenes[0].scores)), Protocol(drop_labels_below=drop), build_crf("lattice", PAPER)
        )
        return [mask for _, mask in results_of(lambda one: predict_mask(*predictor.refine(*one)), INHERITED)]

    with multiprocessing.get_context("fork").Pool(2) as pool:
        calls = {
            POOL: lambda: pool.map(peer, range(len(scenes)), chunksize=1),
            "lattice": lambda: ours(0.0),
            "lattice, without labels below 0.05 at every pixel": lambda: ours(0.05),
        }
        ways = {name: lambda name=name, call=call: masks.update({name: call()}) for name, call in calls.items()}
        table = timing_table(alternate(ways, rounds, warm=1), POOL, per=len(scenes))
    rows = ["| way | labels equal to pydensecrf's, % | mean IoU, % |", "| --- | ---: | ---: |"]
    for name, found in masks.items():
        same = sum((a == b).sum() for a, b in zip(found, masks[POOL], strict=True)) / sum(a.size for a in found)
        rows.append(f"| {name} | {100 * same:.4f} | {mean_iou(scenes, found)} |")
    return f"{len(scenes)} images, milliseconds per image.\n\n{table}\n\n" + "\n".join(rows)


INHERITED: list[tuple[torch.Tensor, np.ndarray]] = []
"""Input of the processes of the pool, which inherit it when they are forked. Only a number is sent to them."""


def peer(number: int) -> np.ndarray:
    """Return pydensecrf's labels (H, W) of an inherited image."""
    from pydensecrf.densecrf import CONST_KERNEL, NORMALIZE_SYMMETRIC, DenseCRF2D

    probs, image = INHERITED[number]
    classes, height, width = probs.shape
    crf = DenseCRF2D(width, height, classes)
    crf.setUnaryEnergy(-np.log(np.maximum(probs.numpy(), FLOOR)).reshape(classes, -1))
    kind = {"kernel": CONST_KERNEL, "normalization": NORMALIZE_SYMMETRIC}
    crf.addPairwiseBilateral(PAPER.bilateral_xy, PAPER.bilateral_rgb, image, compat=PAPER.bilateral_weight, **kind)
    crf.addPairwiseGaussian(PAPER.gaussian_xy, compat=PAPER.gaussian_weight, **kind)
    return np.argmax(crf.inference(PAPER.iterations), 0).astype(np.uint8).reshape(height, width)


class _NoNetwork(torch.nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.class_names = tuple(map(str, range(classes)))


def mean_iou(scenes: list[Scene], found: list[np.ndarray]) -> str:
    if scenes[0].mask is None:
        return "no masks"
    score = SegmentationScore(VOC_CLASSES, scored=SCORED)
    for scene, mask in zip(scenes, found, strict=True):
        score.update(mask, scene.mask)
    return f"{100 * score.compute()['miou']:.3f}"


def scaling(scenes: list[Scene], rounds: int) -> str:
    """Time one image by size and by number of labels."""
    scene, rows = (
        scenes[0],
        ["| image, labels | pydensecrf, ms | lattice, ms | times faster |", "| --- | ---: | ---: | ---: |"],
    )
    cases = [(SIZE, count) for count in (2, 7, 21, 81)]
    cases += [((side, side), 21) for side in (41, 161, 321, 641, 961)]
    for size, count in cases:
        probs, image = scene.probs(size, count), scene.resized(size)
        params = TRAINING if size == GRID else PAPER
        seconds = alternate({name: refined(name, params, probs, image) for name in (PEERS, "lattice")}, rounds)
        middle = {name: 1000 * float(np.median(values)) for name, values in seconds.items()}
        ratio = np.median(np.divide(*seconds.values()))
        label = f"{size[0]} x {size[1]}, {count}"
        rows.append(f"| {label} | {digits(middle[PEERS])} | {digits(middle['lattice'])} | {ratio:.2f} |")
    return "\n".join(rows)


def limit(scenes: list[Scene], rounds: int) -> str:
    """Compute how much memory the lattice moves for one image, and compare the speed with a plain copy."""
    scene = scenes[0]
    probs, image = scene.probs(SIZE), scene.resized(SIZE)
    kernels = (
        build_lattice(*SIZE, PAPER.bilateral_weight, PAPER.bilateral_xy, image.transpose(2, 0, 1).copy(), 13.0),
        gaussian_lattice(*SIZE, PAPER.gaussian_weight, PAPER.gaussian_xy),
    )
    row, n, passes = 4 * packed_width(len(probs)), SIZE[0] * SIZE[1], PAPER.iterations + 1
    # A pixel reads its scores and the points of its simplices, and reads and writes these again in the splat. A step of
    # the blur reads one point and writes one.
    moved = passes * n * row * (1 + 3 * sum(kernel.corners.shape[1] for kernel in kernels))
    moved += PAPER.iterations * 2 * row * sum(len(kernel.reads) for kernel in kernels)
    grids = np.ones(sum(kernel.points + 2 for kernel in kernels) * row // 4, np.float32)
    copy = np.empty_like(grids)
    crf = with_threads(1, refined("lattice", PAPER, probs, image))
    build = with_threads(1, lambda: build_lattice(*SIZE, 10, 80, image.transpose(2, 0, 1).copy(), 13))
    ways = {
        "all": crf,
        "the bilateral lattice built": build,
        "copy": lambda: [np.copyto(copy, grids) for _ in range(20)],
    }
    middle = {name: float(np.median(values)) for name, values in alternate(ways, rounds).items()}
    rows = [
        ("points of the bilateral lattice and of the Gaussian", ", ".join(f"{kernel.points:,}" for kernel in kernels)),
        ("their values, MB", digits(grids.nbytes / 1e6)),
        ("moved in 10 iterations, GB", digits(moved / 1e9)),
        ("milliseconds, one thread", digits(1000 * middle["all"])),
        ("of these, the lattice's construction", digits(1000 * middle["the bilateral lattice built"])),
        ("GB/s of the rest", digits(moved / 1e9 / (middle["all"] - middle["the bilateral lattice built"]))),
        ("GB/s of a plain copy of an array as large as these values", digits(40 * grids.nbytes / 1e9 / middle["copy"])),
    ]
    return "\n".join(["| | |", "| --- | ---: |", *(f"| {name} | {value} |" for name, value in rows)])


def memory(scenes: list[Scene], rounds: int) -> str:
    """Measure the peak memory for one image with 21 labels, in addition to its input, in separate processes."""
    probs, image = scenes[0].probs(SIZE).numpy(), scenes[0].resized(SIZE)
    rows = ["| way | MB |", "| --- | ---: |"]
    for backend in (PEERS, "lattice"):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            rows.append(f"| {backend} | {pool.submit(peak, backend, probs, image).result() / 1e6:.0f} |")
    return "\n".join(rows)


def peak(backend: str, probs: np.ndarray, image: np.ndarray) -> int:
    """Return the most bytes by which this process grew in a call."""
    logits = torch.from_numpy(np.log(np.maximum(probs, FLOOR)))[None]
    image = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
    crf = build_crf(backend, PAPER)
    crf(logits[..., :40, :40].contiguous(), image[..., :40, :40].contiguous())  # compiled and imported
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", "utf-8")  # resets the peak
    before = _status("VmRSS")
    crf(logits, image)
    return _status("VmHWM") - before


def _status(key: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text("utf-8").splitlines() if line.startswith(key))
    return 1024 * int(line.split()[1])


def with_threads(threads: int, way: Callable[[], Any]) -> Callable[[], Any]:
    def call() -> Any:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            return way()
        finally:
            torch.set_num_threads(before)

    return call


QUESTIONS = {
    "training": (f"A batch of {BATCH} on the training grid: {GRID[0]} x {GRID[1]}, 21 labels", training),
    "image": (f"One image: {SIZE[1]} x {SIZE[0]}, 21 labels; three of them", one_image),
    "images": ("Many images, 21 labels, all cores", many_images),
    "scaling": ("By image size and number of labels, one image", scaling),
    "limit": (f"The limit: {SIZE[1]} x {SIZE[0]}, 21 labels, one thread", limit),
    "memory": (f"Memory: {SIZE[1]} x {SIZE[0]}, 21 labels", memory),
}


def main() -> None:
    keep_freed_memory()  # as the commands do
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--only", default=",".join(QUESTIONS), help=f"questions, of {', '.join(QUESTIONS)}")
    parser.add_argument("--images", type=int, default=100, help="number of images for the question images (100)")
    arguments = parser.parse_args()
    scenes, what = find_scenes(arguments, max(BATCH, arguments.images))
    sections = {}
    for name in arguments.only.split(","):
        heading, answer = QUESTIONS[name]
        sections[heading] = answer(scenes, arguments.rounds)
        print(heading, sections[heading], sep="\n", flush=True)
    report("crf", f"The fully connected CRF: {what}", sections)


if __name__ == "__main__":
    main()
