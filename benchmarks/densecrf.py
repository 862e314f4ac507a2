"""Compare ``secseg.densecrf`` with pydensecrf through the same calls: results, times, memory, and the first call.

    python -m benchmarks.densecrf --root <VOC2012>                    photos of VOC 2012, with random probabilities
    python -m benchmarks.densecrf --only equal,image                  some questions; without --root: noisy squares

Both packages get the same arrays. A time is that of all calls for an image: the unary energies, both kernels, the
inference and the labels. pydensecrf uses one core.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np
import pydensecrf.densecrf as theirs
import pydensecrf.utils as their_utils
from PIL import Image

import secseg.densecrf as ours
from benchmarks.compare import alternate, digits, report, timing_table
from secseg.densecrf import utils as our_utils
from tests.densecrf import KERNELS, blobs, built
from tests.densecrf.test_arguments import UNSUPPORTED

PEERS, OWN = "pydensecrf", "secseg.densecrf"
PACKAGES: dict[str, tuple[ModuleType, ModuleType]] = {PEERS: (theirs, their_utils), OWN: (ours, our_utils)}
SIZE, GRID, BATCH = (375, 500), (41, 41), 15
#: Size, labels, kernels, helper for the unary energies, layout of its input.
CASES = [
    *(((1, 1), labels, "paper", "softmax", "C") for labels in (2, 21)),
    ((1, 7), 21, "paper", "softmax", "C"),
    ((5, 3), 3, "67, 3, 4", "labels", "C"),
    *((GRID, 21, kernels, "softmax", "C") for kernels in KERNELS),
    *((GRID, 21, "paper", "labels", layout) for layout in ("C", "Fortran", "slice")),
    *((GRID, 21, "paper", "softmax", layout) for layout in ("Fortran", "slice")),
    *((GRID, labels, "paper", "softmax", "C") for labels in (2, 7, 81, 300)),
    *((SIZE, 21, kernels, "softmax", "C") for kernels in ("paper", "67, 3, 4", "121, 5, 4", "50, 5, 10")),
    (SIZE, 2, "50, 5, 10", "labels", "C"),
    ((720, 1280), 7, "paper", "softmax", "C"),
    ((1500, 2000), 2, "paper", "softmax", "C"),
    ((1500, 2000), 2, "67, 3, 4", "labels", "C"),
]
PHOTOS: list[Path] = []


def scene(size: tuple[int, int], labels: int, number: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return an image (H, W, 3) uint8 and smooth probabilities (C, H, W) float32."""
    image, probs = blobs(*size, labels, number)
    if PHOTOS:
        with Image.open(PHOTOS[number % len(PHOTOS)]) as photo:
            image = np.array(photo.convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR))
    return image, probs


def laid_out(array: np.ndarray, layout: str) -> np.ndarray:
    """Return an equal array in another memory layout."""
    if layout == "Fortran":
        return np.asfortranarray(array)
    return np.repeat(array, 2, -1)[..., ::2] if layout == "slice" else array


def refine(
    package: str, image: np.ndarray, given: np.ndarray, labels: int, kernels: str = "paper", iterations: int = 10
) -> np.ndarray:
    """Return the probabilities (labels, pixels) of a package, from probabilities (C, H, W) or a label map (H, W)."""
    densecrf, utils = PACKAGES[package]
    if given.ndim == 2:
        energies = utils.unary_from_labels(given, labels, 0.7)
    else:
        energies = np.ascontiguousarray(utils.unary_from_softmax(given))
    return np.asarray(built(densecrf, image, energies, KERNELS[kernels]).inference(iterations))


def labels_of(package: str, image: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Return the labels of an image after 10 iterations with the paper's kernels."""
    return np.argmax(refine(package, image, probs, len(probs)), axis=0)


def equal(rounds: int, images: int) -> str:
    """Compare the results for many sizes, labels, kernels and memory layouts, each once."""
    rows = [
        "| image | labels | kernels | energies from | equal labels, % | largest difference | pydensecrf, s | ours, s |",
        "| --- | ---: | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for size, labels, kernels, helper, layout in CASES:
        image, probs = scene(size, labels)
        given = laid_out(probs if helper == "softmax" else probs.argmax(0), layout)  # label 0 is unknown
        refine(OWN, image, given, labels, kernels, 1)  # compiled, also what only large images use
        found, seconds = {}, {}
        for package in PACKAGES:
            started = time.perf_counter()
            found[package] = refine(package, image, given, labels, kernels, 5)
            seconds[package] = time.perf_counter() - started
        same = (found[PEERS].argmax(0) == found[OWN].argmax(0)).mean()
        largest = abs(found[PEERS] - found[OWN]).max()
        source = f"{helper}, {layout}" if layout != "C" else helper
        rows.append(
            f"| {size[1]} x {size[0]} | {labels} | {kernels} | {source} | {100 * same:.4f} | {largest:.1e} "
            f"| {digits(seconds[PEERS])} | {digits(seconds[OWN])} |"
        )
        print(rows[-1], flush=True)
    return "5 iterations. The seconds are those of one call.\n\n" + "\n".join(rows)


def image(rounds: int, images: int) -> str:
    """Time one image."""
    given = scene(SIZE, 21)
    return timing_table(alternate({name: partial(labels_of, name, *given) for name in PACKAGES}, rounds), PEERS)


def batch(scenes: list[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
    """Return the labels of many images, computed on all cores."""
    crfs = (built(ours, image, our_utils.unary_from_softmax(probs), KERNELS["paper"]) for image, probs in scenes)
    return [np.argmax(found, axis=0) for found in ours.inference_batch(crfs, 10)]


def many(size: tuple[int, int], count: int, rounds: int) -> str:
    """Time many images of a size, one after the other and in one call."""
    scenes = [scene(size, 21, number) for number in range(count)]
    ways: dict[str, Callable[[], Any]] = {
        f"{name}, a loop": lambda name=name: [labels_of(name, *one) for one in scenes] for name in PACKAGES
    }
    ways[f"{OWN}, inference_batch"] = partial(batch, scenes)
    table = timing_table(alternate(ways, rounds), f"{PEERS}, a loop", per=count)
    return f"{count} images, milliseconds per image.\n\n{table}"


def photos(rounds: int, images: int) -> str:
    return many(SIZE, images, rounds)


def grid(rounds: int, images: int) -> str:
    return many(GRID, BATCH, rounds)


def memory(rounds: int, images: int) -> str:
    """Measure the peak memory for one image, in addition to its input, in separate processes."""
    rows = ["| way | MB |", "| --- | ---: |"]
    for package in PACKAGES:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            rows.append(f"| {package} | {pool.submit(peak, package, *scene(SIZE, 21)).result() / 1e6:.0f} |")
    return "\n".join(rows)


def peak(package: str, image: np.ndarray, probs: np.ndarray) -> int:
    """Return the most bytes by which this process grew in a call."""
    labels_of(package, image[:40, :40].copy(), probs[:, :40, :40].copy())  # compiled
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", "utf-8")  # resets the peak
    before = _status("VmRSS")
    labels_of(package, image, probs)
    return _status("VmHWM") - before


def _status(key: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text("utf-8").splitlines() if line.startswith(key))
    return 1024 * int(line.split()[1])


FIRST = """
import time
started = time.perf_counter()
import {name} as dcrf
from {name_of_utils} import unary_from_softmax
imported = time.perf_counter()
import numpy as np
probs = np.full((21, 41, 41), 1 / 21, np.float32)
crf = dcrf.DenseCRF2D(41, 41, 21)
crf.setUnaryEnergy(unary_from_softmax(probs))
crf.addPairwiseGaussian(sxy=3, compat=3)
crf.addPairwiseBilateral(sxy=80, srgb=13, rgbim=np.zeros((41, 41, 3), np.uint8), compat=10)
crf.inference(5)
print(imported - started, time.perf_counter() - imported)
"""


def first(rounds: int, images: int) -> str:
    """Time the import and the first call, in new processes: with an empty cache, and with the cache of that process."""
    rows = ["| process | import, s | first image, s |", "| --- | ---: | ---: |"]
    names = {PEERS: ("pydensecrf.densecrf", "pydensecrf.utils"), OWN: ("secseg.densecrf", "secseg.densecrf.utils")}
    with TemporaryDirectory() as cache:
        for package, when in ((PEERS, "any"), (OWN, "the first on this machine"), (OWN, "a later one")):
            code = FIRST.format(name=names[package][0], name_of_utils=names[package][1])
            environment = {**os.environ, "SECSEG_CACHE": cache}
            environment.pop("NUMBA_CACHE_DIR", None)
            result = subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
            )
            imported, called = map(float, result.stdout.split())
            rows.append(f"| {package}, {when} | {digits(imported)} | {digits(called)} |")
    return "\n".join(rows)


def unsupported(rounds: int, images: int) -> str:
    """List what each call that is not supported raises."""
    rows = ["| call | error |", "| --- | --- |"]
    for name, (call, _) in UNSUPPORTED.items():
        try:
            call()
        except NotImplementedError as error:
            rows.append(f"| {name.rstrip('=')} | `NotImplementedError: {error}` |")
    assert len(rows) == 2 + len(UNSUPPORTED)
    return "\n".join(rows)


QUESTIONS: dict[str, tuple[str, Callable[[int, int], str]]] = {
    "equal": ("Results", equal),
    "image": (f"One image: {SIZE[1]} x {SIZE[0]}, 21 labels, 10 iterations, milliseconds", image),
    "photos": (f"Many images: {SIZE[1]} x {SIZE[0]}, 21 labels, 10 iterations", photos),
    "grid": (f"Many small images: {GRID[0]} x {GRID[1]}, 21 labels, 10 iterations", grid),
    "memory": (f"Memory: {SIZE[1]} x {SIZE[0]}, 21 labels", memory),
    "first": ("The first call: 41 x 41, 21 labels", first),
    "unsupported": ("Calls that are not supported", unsupported),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder in VOC's layout, for its photos; without it, noisy squares")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=100, help="number of images for the question photos (100)")
    parser.add_argument("--only", default=",".join(QUESTIONS), help=f"questions, of {', '.join(QUESTIONS)}")
    arguments = parser.parse_args()
    if arguments.root is not None:
        PHOTOS.extend(sorted((arguments.root / "JPEGImages").glob("*.jpg"))[: max(BATCH, arguments.images)])
    load, sections = os.getloadavg()[0], {}
    for name in arguments.only.split(","):
        heading, answer = QUESTIONS[name]
        sections[heading] = answer(arguments.rounds, arguments.images)
        print(heading, sections[heading], sep="\n", flush=True)
    loads = f"The load average was {load:.1f} at the start and {os.getloadavg()[0]:.1f} at the end."
    what = "photos of VOC 2012" if PHOTOS else "noisy squares"
    report("densecrf", f"secseg.densecrf and pydensecrf: {what}, random probabilities\n\n{loads}", sections)


if __name__ == "__main__":
    main()
