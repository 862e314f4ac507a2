"""Compare two sets of runs on one split, with an interval over images:

python experiments/compare.py <split> <first run> ... -- <second run> ...

Both are scored by the official protocol, without and with the test-time CRF. Prints the means and the difference.
"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import numpy as np

from secseg.config import build
from secseg.crf import CRFParams, build_crf
from secseg.data.datamodule import ImageDataModule
from secseg.data.images import read_image, read_mask
from secseg.evaluation.bootstrap import bootstrap_difference, mean_iou
from secseg.files import atomic_write
from secseg.inference import Predictor, Protocol
from secseg.loading import find_network, load_network, read_checkpoint
from secseg.metrics import SegmentationScore
from secseg.parallel import results_of
from secseg.progress import ImageMeter


def confusions(run: Path, split: str) -> tuple[np.ndarray, list[int]]:
    """Return the counts (2, images, C, C) of a run, without and with CRF, and the numbers of the classes scored.

    They are kept in the run folder, ``confusions_<split>.npz``.
    """
    file = find_network(run)
    data = build({**read_checkpoint(file)["secseg"]["config"]["data"], "val_split": split})
    assert isinstance(data, ImageDataModule)
    data.open_scored()
    scored = [data.class_names.index(name) for name in data.scored or data.class_names]
    kept = run / f"confusions_{Path(split).stem}.npz"
    if kept.is_file():
        return np.load(kept)["counts"], scored
    network = load_network(file)
    predictor = Predictor(network, Protocol(input_size=network.input_size), build_crf("lattice", CRFParams()))
    images = data.val_images
    assert images.masks is not None

    def one(item: tuple[Path, Path]) -> np.ndarray:
        prediction = predictor(read_image(item[0]))
        assert prediction.mask_crf is not None
        counts = []
        for mask in (prediction.mask, prediction.mask_crf):
            score = SegmentationScore(data.class_names)
            score.update(mask, read_mask(item[1], len(data.class_names), mask.shape))
            counts.append(score.confusion)
        return np.stack(counts)

    items = list(zip(images.images, images.masks, strict=True))
    found = {}
    with ImageMeter(run.name, len(items)) as meter, closing(results_of(one, items)) as results:
        for item, result in results:
            found[item] = result
            meter.update()
    counts = np.stack([found[item] for item in items], 1)
    with atomic_write(kept) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, counts=counts)
    return counts, scored


def main() -> None:
    split, *words = sys.argv[1:]
    at = words.index("--")
    sets = [[confusions(Path(word), split) for word in part] for part in (words[:at], words[at + 1 :])]
    scored = sets[0][0][1]
    for number, kind in enumerate(("without CRF", "with CRF")):
        first, second = (np.stack([counts[number] for counts, _ in part]) for part in sets)
        each = [[f"{100 * mean_iou(run.sum(0), scored):.1f}" for run in part] for part in (first, second)]
        difference, low, high = (100 * value for value in bootstrap_difference(first, second, scored))
        print(f"{kind}: first {' '.join(each[0])}, second {' '.join(each[1])}")
        print(f"  second - first: {difference:+.1f} (95 % of draws of images: {low:+.1f} to {high:+.1f})")


if __name__ == "__main__":
    main()
