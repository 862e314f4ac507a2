"""COCO's annotations: time and memory to read labels, and the time to draw masks, on a file of the real size.

    python -m benchmarks.coco --folder /tmp/coco              draws a file of 450 MB, and takes some minutes
    python -m benchmarks.coco --folder /tmp/coco --images 900

The file is drawn: 82,783 images, 604,907 annotations, polygons with as many characters as COCO has, and crowds. Each
reader has a fresh process, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from secseg.data.classes import voc_palette
from secseg.data.coco import CATEGORIES, COCO_CLASSES
from secseg.data.coco_annotations import read_instances
from secseg.data.coco_masks import RULES, draw_mask
from secseg.data.masks import save_mask
from secseg.utils.parallel import results_of

IMAGES, ANNOTATIONS = 82_783, 604_907
HEIGHT, WIDTH = 480, 640
READERS = {
    "labels, ours": "from secseg.data.coco_annotations import read_instances; "
    "found = read_instances(Path(sys.argv[1])); print(len(found.labels))",
    "json.load alone": "import json; print(len(json.load(open(sys.argv[1]))['images']))",
    "imports alone": "from secseg.data.coco_annotations import read_instances; print(0)",
}
# Not ru_maxrss: Linux hands it from the starting process to the started one.
COST = """
from resource import RUSAGE_SELF, getrusage
used = getrusage(RUSAGE_SELF)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
print(peak, used.ru_utime + used.ru_stime)
"""


def draw_annotations(path: Path, images: int) -> None:
    """Write an annotation file with ``images`` images in COCO's layout; its annotations repeat 2,000 drawn shapes."""
    rng = np.random.default_rng(0)
    name = "COCO_train2014_{:012}.jpg"
    numbers = range(1, images + 1)
    head = [{"id": one, "file_name": name.format(one), "height": HEIGHT, "width": WIDTH} for one in numbers]
    shapes = [json.dumps({"segmentation": [_polygon(rng)], "area": float(at), "iscrowd": 0}) for at in range(2000)]
    shapes[::80] = [
        json.dumps({"segmentation": {"counts": _run_lengths(rng), "size": [HEIGHT, WIDTH]}, "area": 9.0, "iscrowd": 1})
        for _ in shapes[::80]
    ]
    count = math.ceil(ANNOTATIONS * images / IMAGES)
    chosen = zip(rng.integers(1, images + 1, count).tolist(), rng.choice(CATEGORIES, count).tolist(), strict=True)
    with path.open("w", encoding="utf-8") as file:
        file.write(f'{{"info": {{"year": 2014}}, "images": {json.dumps(head)}, "licenses": [], "annotations": [')
        for number, (image, category) in enumerate(chosen):
            rest = json.dumps({"image_id": image, "bbox": [0.0, 0.0, 9.0, 9.0], "category_id": category, "id": number})
            file.write(f"{', ' if number else ''}{shapes[number % len(shapes)][:-1]}, {rest[1:]}")
        names = [{"id": one, "name": name} for one, name in zip(CATEGORIES, COCO_CLASSES[1:], strict=True)]
        file.write(f'], "categories": {json.dumps(names)}}}')


def _polygon(rng: np.random.Generator) -> list[float]:
    points = int(rng.gamma(2, 19.5)) + 4
    angles = np.sort(rng.random(points)) * 2 * np.pi
    radius = rng.uniform(5, 120) * rng.uniform(0.8, 1.2, points)
    x, y = rng.uniform(0, WIDTH) + radius * np.cos(angles), rng.uniform(0, HEIGHT) + radius * np.sin(angles)
    return np.stack([x.clip(0, WIDTH), y.clip(0, HEIGHT)], 1).round(2).reshape(-1).tolist()


def _run_lengths(rng: np.random.Generator) -> list[int]:
    ends = np.unique(rng.integers(1, HEIGHT * WIDTH, 400))
    return np.diff(ends, prepend=0, append=HEIGHT * WIDTH).tolist()


def measure(path: Path) -> None:
    """Print the seconds of the processor and the peak memory of each reader, in a process of its own."""
    for title, code in READERS.items():
        words = [sys.executable, "-c", f"import sys; from pathlib import Path; {code}\n{COST}", str(path)]
        count, peak, seconds = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
        print(f"{title}: {float(seconds):.1f} s, peak {int(peak) / 1024:.0f} MB, {count} images", flush=True)


def draw(path: Path, count: int) -> None:
    """Print the time to draw and write the masks of ``count`` images, and of all images at this rate."""
    found = read_instances(path)
    numbers, palette = list(found.images)[:count], voc_palette()
    for rule in RULES:
        with TemporaryDirectory(dir=path.parent) as folder:

            def one(number: int, folder: str = folder, rule: str = rule) -> None:
                mask = draw_mask(found.annotations(number), (HEIGHT, WIDTH), rule)
                save_mask(mask, Path(folder) / f"{number}.png", palette)

            started, cpu = time.perf_counter(), time.process_time()
            for _ in results_of(one, numbers):
                pass
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        share = len(found.images) / len(numbers) / 60
        print(
            f"masks, {rule}: {len(numbers)} images in {seconds:.1f} s ({cpu:.1f} s of the processor), "
            f"{len(found.images)} in {seconds * share:.1f} min ({cpu * share:.1f} min of the processor)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--images", type=int, default=IMAGES)
    given = parser.parse_args()
    path = given.folder / f"instances_train2014_{given.images}.json"
    given.folder.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        draw_annotations(path, given.images)
    print(f"{path}: {path.stat().st_size / 1e6:.0f} MB")
    measure(path)
    draw(path, min(given.images, 500))


if __name__ == "__main__":
    main()
