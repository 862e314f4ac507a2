"""Equality with the CPU: terms of the loss and their gradients, gradients of the network, labels of the CRF.

The reference is the CPU in float64. The lattice computes in float32 on every device, so there the reference is the
lattice that runs on the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from importlib.util import find_spec

import torch
from torch import Tensor

from benchmarks.gpu.setup import Setup, relative, without_tf32
from benchmarks.gpu.table import Row, at_most
from secseg.crf import CRFParams, build_crf
from secseg.crf.lattice_torch import mean_field
from secseg.data.images import read_image
from secseg.inference.full_size import full_size_probs
from secseg.training.run import build_loss, build_training_terms

LOSSES = {
    "loss=sec": [],
    "loss=sec_plus": ["loss=sec_plus", "seeds=grow", "decay=adaptive"],
    "other methods": ["loss=seed", "loss.seed=0", "loss.crf_energy=1", "loss.normalized_cut=1"],
}
LOSS_LIMIT, NETWORK_LIMIT, TF32_LIMIT = 1e-4, 2e-3, 5e-2
LEAST_EQUAL = 99.9
"""Percent of pixels whose label must be the same. Ties and rounding at the border of two labels explain the rest."""
IMAGES = 2
"""Images for the gradients of the network, which the CPU computes in float64."""


def losses(setup: Setup) -> Iterator[Row]:
    """Yield value and gradient of each term, for the same scores."""
    for name, words in LOSSES.items():
        ours = terms(setup, words, setup.device, torch.float32)
        for term, reference in terms(setup, words, "cpu", torch.float64).items():
            value, gradient = (relative(*pair) for pair in zip(ours[term], reference, strict=True))
            yield at_most(f"{term} ({name})", {"value": value, "gradient": gradient}, LOSS_LIMIT)


def terms(
    setup: Setup, words: list[str], device: torch.device | str, dtype: torch.dtype
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return value and gradient for the scores, of each term of the loss."""
    config, scores = setup.config(*words), setup.scores.to(device, dtype).requires_grad_()
    loss = build_loss(config, build_training_terms(config), scores[0, 0].numel(), scores.shape[1]).to(device)
    values = loss(scores, setup.batch(device))
    return {
        name: (value, torch.autograd.grad(value, scores, retain_graph=True)[0])
        for name, value in values.items()
        if name != "loss"
    }


def network(setup: Setup) -> Iterator[Row]:
    """Yield the network's scores, its loss, and the gradients of all weights; on CUDA also without TF32."""
    reference = forward_backward(setup, "cpu", torch.float64)
    for tf32 in (True, False) if setup.device.type == "cuda" else (False,):
        with nullcontext() if tf32 else without_tf32():
            ours = forward_backward(setup, setup.device, torch.float32)
        differences = {name: relative(ours[name], reference[name]) for name in reference}
        what = f"experiment=paper, {'TF32 in convolutions' if tf32 else 'float32'}"
        yield at_most(what, differences, TF32_LIMIT if tf32 else NETWORK_LIMIT)


def forward_backward(setup: Setup, device: torch.device | str, dtype: torch.dtype) -> dict[str, Tensor]:
    config, net = setup.config(), setup.network(device, dtype)
    batch = {key: value[:IMAGES] for key, value in setup.batch(device).items()}
    scores = net(batch["image"])
    terms = build_training_terms(config)
    loss = build_loss(config, terms, scores[0, 0].numel(), scores.shape[1]).to(device)(scores, batch)["loss"]
    loss.backward()
    gradients = [parameter.grad.flatten() for parameter in net.parameters() if parameter.grad is not None]
    return {"scores": scores, "loss": loss, "gradients": torch.cat(gradients)}


def crf(setup: Setup) -> Iterator[Row]:
    """Yield the share of equal labels of each backend, on the training grid and at the size of an image."""
    images = setup.batch("cpu")["crf_image"]
    training = CRFParams().scaled(12)
    yield from crf_rows(setup, "training grid", setup.scores, images, training, ("lattice", "exact", "par"))
    photo = read_image(setup.scored_data.val_images.images[0])
    logits = full_size_probs(setup.scores[0], photo.shape[:2]).log()[None]
    image = torch.from_numpy(photo.transpose(2, 0, 1).copy())[None]
    yield from crf_rows(setup, "whole image", logits, image, CRFParams(), ("lattice", "par"))


def crf_rows(
    setup: Setup, where: str, logits: Tensor, images: Tensor, params: CRFParams, backends: tuple[str, ...]
) -> Iterator[Row]:
    size = f"{where}, {len(logits)} of {logits.shape[2]} x {logits.shape[3]}"
    inputs = logits.to(setup.device), images.to(setup.device)
    for backend in backends:
        solve, reference = build_crf(backend, params), build_crf(backend, params)
        if backend == "lattice" and setup.device.type == "cpu":  # the lattice of a GPU runs on a CPU, too
            solve = partial(mean_field, params=params)
        yield labels_row(f"{backend}, {size}", solve(*inputs), reference(logits.double(), images))
    if find_spec("pydensecrf") is None:
        yield Row(f"lattice and pydensecrf, {size}", "not measured: pydensecrf is not installed")
        return
    peer = build_crf("pydensecrf", params)(logits, images)
    yield labels_row(f"lattice and pydensecrf, {size}", build_crf("lattice", params)(*inputs), peer)


def labels_row(what: str, ours: Tensor, reference: Tensor) -> Row:
    """Compare the best labels of probabilities (B, C, H, W)."""
    ours, reference = (probs.detach().cpu().double() for probs in (ours, reference))
    share = 100 * float((ours.argmax(1) == reference.argmax(1)).double().mean())
    apart = float((ours - reference).abs().max())
    figure = f"{share:.4f} % of labels, probabilities within {apart:.1e}"
    return Row(what, figure, f"at least {LEAST_EQUAL} %", share >= LEAST_EQUAL)
