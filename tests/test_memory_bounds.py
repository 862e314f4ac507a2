"""Memory stays within what docs/reliability.md states: for a large image, and for each name of a long list."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY

START = f"""
import sys; sys.path[:0] = [{str(REPOSITORY / "src")!r}, {str(REPOSITORY)!r}]
from resource import RUSAGE_SELF, getrusage
def peak():
    return getrusage(RUSAGE_SELF).ru_maxrss * 1024
"""
MOST, CLASSES = 100_000, 21
IMAGE = (
    START
    + f"""
import numpy as np, torch
from secseg.crf import CRFParams, build_crf
from secseg.inference.predictor import Predictor, Protocol
from tests.tiny_network import tiny_network
torch.set_num_threads(1)
predictor = Predictor(tiny_network(), Protocol(65, most_pixels={MOST}), build_crf("lattice", CRFParams()))
noise = np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), dtype=np.uint8)
predictor(noise[:40, :50])
before = peak()
predictor(noise)
print(peak() - before)
"""
)
IDS = 200_000
LIST = (
    START
    + f"""
from pathlib import Path
from secseg.utils.errors import UserError
from secseg.inference.sources import find_photographs
root = Path.cwd()
(root / "ids.txt").write_text("".join(f"{{number:011d}}\\n" for number in range({IDS})))
before = peak()
try:
    find_photographs("ids.txt", str(root))
except UserError as error:
    print(len(str(error)), peak() - before)
"""
)


def said_by(code: str, folder: Path) -> list[int]:
    command = [sys.executable, "-c", code]
    return list(map(int, subprocess.run(command, cwd=folder, capture_output=True, check=True).stdout.split()))


def test_a_large_image_takes_the_memory_of_its_working_copy_and_a_few_bytes_per_pixel(tmp_path: Path) -> None:
    (grown,) = said_by(IMAGE, tmp_path)
    assert grown < 70 * MOST * CLASSES + 12 * 3000 * 4000, (
        "55 bytes per pixel and class for noise, the worst case of the CRF"
    )


def test_a_long_list_of_images_takes_less_than_a_kilobyte_each_and_a_short_message(tmp_path: Path) -> None:
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / folder).mkdir(parents=True)
    length, grown = said_by(LIST, tmp_path)
    assert length < 2000
    assert grown < 1000 * IDS
