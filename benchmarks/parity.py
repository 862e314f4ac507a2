"""Largest differences from the official method, for ``docs/parity.md``.

    python -m benchmarks.parity

The other side is plain NumPy (``tests/reference``), SciPy, pydensecrf, OpenCV if it is installed, or the transcription
of the official training in ``benchmarks/plain.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from scipy.ndimage import zoom
from torch import nn

from benchmarks.compare import report
from benchmarks.plain import CaffeSolver, PlainStep, PlainVGG
from benchmarks.step import Step, load_batches
from secseg.crf import CRFParams, build_crf
from secseg.data.classes import VOC_CLASSES
from secseg.losses import constrain_loss, expand_loss, floor_softmax, global_weighted_rank_pooling, seed_loss
from secseg.models import build_network
from secseg.models.cpu import Dropout
from secseg.utils.config import compose, to_plain
from secseg.utils.resizing import resize_aligned, resize_like_opencv
from tests.crf import textured
from tests.reference import caffe, losses

STEPS, EVERY = 20, 10
TRAINING = CRFParams().scaled(12)


def loss_rows() -> Iterator[tuple[str, str, str]]:
    """Yield the terms of the loss and the pooling, in float32, on random scores of 21 classes."""
    generator = torch.Generator().manual_seed(0)
    scores = 3 * torch.randn(2, 21, 41, 41, generator=generator)
    chosen = torch.randint(-21, 21, (2, 41, 41), generator=generator)
    cues = torch.stack([chosen == c for c in range(21)], 1)
    labels = cues.flatten(2).any(2).float()
    labels[:, 5:] = 0
    f, q = floor_softmax(scores), torch.softmax(scores.roll(1, 1), 1)
    exact, plain = losses.probabilities(scores.double().numpy()), "plain NumPy in float64"
    yield "floored softmax", plain, difference(f, exact)
    yield "seed", plain, relative(seed_loss(f, cues), losses.seed(exact, cues.numpy()))
    expected = losses.expand(exact, labels.numpy(), 0.996, 0.0, 0.999)
    yield "expand", plain, relative(expand_loss(f, labels, 0.996, 0.0, 0.999), expected)
    yield "constrain", plain, relative(constrain_loss(f, q), losses.constrain(exact, q.double().numpy()))
    pooled = global_weighted_rank_pooling(f[0].flatten(1), 0.996)
    yield "weighted rank pooling, d = 0.996", plain, difference(pooled, [losses.gwrp(m, 0.996) for m in exact[0]])


def input_rows() -> Iterator[tuple[str, str, str]]:
    """Yield the resizing of the training input, of the test input and of probabilities."""
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    got = resize_like_opencv(image, (33, 33)).astype(int)
    yield (
        "bytes of the training input",
        "OpenCV's rule in plain NumPy",
        f"{abs(got - caffe.resize(image, (33, 33))).max()} levels",
    )
    try:
        import cv2
    except ImportError:
        pass
    else:
        photo = np.random.default_rng(1).integers(0, 256, (375, 500, 3), dtype=np.uint8)
        levels = abs(resize_like_opencv(photo, (321, 321)).astype(int) - cv2.resize(photo, (321, 321))).max()
        yield "the same", f"OpenCV {cv2.__version__}", f"{levels} levels"
    maps = torch.rand(1, 21, 41, 41, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    enlarged = zoom(maps[0].numpy(), (1, 375 / 41, 500 / 41), order=1)
    yield "enlarged probabilities", "SciPy's zoom(order=1)", difference(resize_aligned(maps, (375, 500))[0], enlarged)


def crf_rows() -> Iterator[tuple[str, str, str]]:
    """Yield the CRF on the training grid, and on an image of 321 x 321."""
    for name, params, size in (("training", TRAINING, (4, 21, 41, 41)), ("test", CRFParams(), (1, 21, 321, 321))):
        logits, images = textured(size)
        for channels in ("BGR", "RGB") if name == "training" else ("RGB",):
            official = build_crf("pydensecrf", params)(logits, images.flip(1) if name == "training" else images)
            ours = build_crf("lattice", params)(logits, images.flip(1) if channels == "BGR" else images)
            share = 100 * (ours.argmax(1) == official.argmax(1)).float().mean()
            against = f"pydensecrf with {'BGR' if name == 'training' else 'RGB'}"
            yield f"CRF, {name}, {channels}", against, f"{difference(ours, official)}; {share:.2f} % of labels equal"


def training_rows() -> Iterator[tuple[str, str, str]]:
    """Yield losses and weights after a training of 20 steps with a decay of the rate, with Caffe's momentum and not."""
    yield "training of 20 steps, largest difference of a loss", "official solver", difference(*trained(True)[:2])
    for name, momentum in (("Caffe's momentum", True), ("PyTorch's momentum", False)):
        weights = trained(momentum)[2]
        yield f"weights after it, {name}", "official solver", f"{weights:.1e} of the change"


def trained(caffe_momentum: bool) -> tuple[np.ndarray, np.ndarray, float]:
    """Return our losses and those of the transcription, and the relative difference of the change of the weights."""
    words = ["experiment=paper", "backbone.trunk.weights=null", "backbone.input_size=161", "data.batch_size=2"]
    words += ["trainer.precision=32-true", f"optim.schedule.every={EVERY}", "data.root=.", "run_dir=."]
    config = to_plain(compose("train", *words, f"optim.caffe_momentum={caffe_momentum}"))
    torch.manual_seed(0)
    network, plain = build_network(config["backbone"], VOC_CLASSES), PlainVGG(len(VOC_CLASSES))
    for module in [*network.modules(), *plain.modules()]:
        if isinstance(module, Dropout | nn.Dropout):
            module.p = 0.0  # the two draw other random numbers
    with torch.no_grad():
        for ours, theirs in zip(network.parameters(), plain.parameters(), strict=True):
            if ours.ndim == 4 and ours.shape[-1] == 3:
                nn.init.kaiming_normal_(ours)
            theirs.copy_(ours)
    before = [parameter.detach().clone() for parameter in plain.parameters()]
    with TemporaryDirectory() as folder:
        batches: list[dict[str, Any]] = load_batches(config, network, None, folder)[:1]
    step, official = Step(network, "lattice", config, batches), PlainStep(plain, batches[0], CaffeSolver(plain, EVERY))
    curves: tuple[list[float], list[float]] = ([], [])
    for _ in range(STEPS):
        step()
        official()
        curves[0].append(float(step.module.losses["loss"]))
        curves[1].append(float(official.loss))
    pairs = zip(step.module.network.parameters(), plain.parameters(), before, strict=True)
    far = [((ours - theirs).norm() ** 2, (theirs - old).norm() ** 2) for ours, theirs, old in pairs]
    wrong, moved = (sum(float(norm.detach()) for norm in norms) for norms in zip(*far, strict=True))
    return np.array(curves[0]), np.array(curves[1]), (wrong / moved) ** 0.5


def difference(ours: Any, expected: Any) -> str:
    """Return the largest absolute difference."""
    return f"{np.abs(np.asarray(ours, np.float64) - np.asarray(expected, np.float64)).max():.1e}"


def relative(ours: Any, expected: float) -> str:
    """Return the relative difference."""
    return f"{abs(float(ours) - expected) / abs(expected):.1e} of the value"


def main() -> None:
    rows = [*loss_rows(), *input_rows(), *crf_rows(), *training_rows()]
    lines = ["| quantity | compared with | largest difference |", "| --- | --- | --- |"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    report("parity", "Parity with the official method", {"Differences": "\n".join(lines)})


if __name__ == "__main__":
    main()
