"""Evaluation: the scores of one network on the device and on the CPU, and images a second."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec

import numpy as np

from benchmarks.compare import digits
from benchmarks.gpu.setup import Setup, composed, without_tf32
from benchmarks.gpu.table import Row
from secseg.evaluation import SegmentationScore
from secseg.evaluation.evaluate import score_network
from secseg.models.files.model_file import NAME, write_model
from secseg.utils.config import to_plain

CRFS = ("crf=off", "crf=paper", "crf=par", "crf=pydensecrf")
LIMIT = 0.1
"""Most percent of pixels by which the confusion matrices of two devices may differ."""


def evaluation(setup: Setup) -> Iterator[Row]:
    """Yield the scores on the device and on the CPU with each CRF, images a second, and peak memory."""
    data, model = setup.scored_data, setup.folder / "network"
    if not model.is_dir():
        write_model(model / NAME, setup.network("cpu"), setup.config()["backbone"])

    def score(crf: str, device: str) -> SegmentationScore:
        config = to_plain(composed("evaluate", f"ckpt={model}", "root=.", "run_dir=.", crf))
        evaluations = score_network({**config, "device": device}, data).evaluations
        return list(evaluations.values())[-1].score

    device, count = setup.device.type, len(data.val_images.names)
    for crf in CRFS:
        if crf == "crf=pydensecrf" and find_spec("pydensecrf") is None:
            yield Row(crf, "not measured: pydensecrf is not installed")
            continue
        seconds = setup.time({crf: partial(score, crf, device)}, rounds=1)[crf][0]
        yield Row(f"{crf}, images a second", f"{digits(count / seconds)} ({count} images in {digits(seconds)} s)")
        with without_tf32():
            yield compare(f"{crf}, mean IoU", score(crf, device), score(crf, "cpu"))
    yield Row("crf=paper, peak memory", setup.peak_of(partial(score, "crf=paper", device)))


def compare(what: str, ours: SegmentationScore, reference: SegmentationScore) -> Row:
    """Compare two mean IoUs, and the confusion matrices behind them, whose difference is at least that of the masks."""
    apart = np.abs(ours.confusion.astype(np.int64) - reference.confusion).sum() / 2
    share = 100 * float(apart / reference.confusion.sum())
    scores = [f"{100 * score.compute()['miou']:.3f} %" for score in (ours, reference)]
    figure = f"{scores[0]}, CPU {scores[1]}, {share:.4f} % of pixels counted differently"
    return Row(what, figure, f"at most {LIMIT} % of pixels", share <= LIMIT)
