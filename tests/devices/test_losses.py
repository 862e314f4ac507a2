"""Losses and CRF backends on a fake device: one device, fitting types, and the listed waits alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import secseg.crf.exact
import secseg.crf.par
import secseg.losses.constrain
from secseg.crf import CRFParams, build_crf
from secseg.losses import build_terms
from secseg.training.run import build_loss
from secseg.utils.config import compose, to_plain
from tests.devices.conftest import Plant
from tests.devices.fake import fake_device, needs_fake_cuda

pytestmark = needs_fake_cuda

IMAGES, CLASSES, SIDE = 2, 4, 9
PRECISIONS = (torch.float32, torch.bfloat16, torch.float16)

Waits = dict[str, dict[str, int]]
"""How often the host waits in each function, by device."""


def on_both(waits: dict[str, int]) -> Waits:
    return {"cuda:0": waits, "mps:0": waits}


LATTICE: Waits = {
    "cuda:0": {"crf.lattice_torch.build_lattice": 2},  # that of the images, and that of the positions, which is kept
    "mps:0": {"crf.lattice.Backend.solve": 2, "crf.base.MeanField.__call__": 1},
}
EXACT = on_both({"crf.exact._grid_kernels": 1})
PAR: Waits = {"cuda:0": {}, "mps:0": {"crf.par.Backend._weights": 1}}
PYDENSECRF = on_both({"crf.pydensecrf.Backend.solve": 2, "crf.base.MeanField.__call__": 1})
NONE = on_both({})
EXPAND: Waits = {"cuda:0": {}, "mps:0": {"losses.pooling.global_weighted_rank_pooling": 2}}
GROW = on_both({"losses.growing.grow_seeds": 3})
FILTER = on_both({"crf.affinity.lattice_affinity": 1, "crf.affinity._filter": 6})

LOSSES: dict[str, tuple[Waits, ...]] = {
    "loss=sec": (LATTICE, EXPAND),
    "loss=sec crf=exact_training": (EXACT, EXPAND),
    "loss=sec crf=par": (PAR, EXPAND),
    "loss=sec decay=fraction": (LATTICE, EXPAND),
    "loss=sec decay=max": (LATTICE,),
    "experiment=sec_plus": (LATTICE, GROW),
    "experiment=dsrg": (LATTICE, GROW),
    "experiment=rloss": (FILTER,),
    "loss=seed 'loss.crf_energy={weight: 1, backend: exact}'": (NONE,),
    "loss=seed 'loss.normalized_cut={weight: 1, backend: exact}'": (NONE,),
    "loss=seed loss.normalized_cut=1": (FILTER,),
    "loss=seed_expand decay=adaptive decay.adaptive.source=prediction decay.adaptive.smoothing=0.5": (LATTICE,),
    "loss=seed_expand decay=adaptive decay.adaptive.source=cues crf=exact_training": (EXACT,),
    "loss=seed_expand decay=adaptive crf=exact_training": (EXACT, GROW),
    "loss=supervised": (NONE,),
}
"""Settings, and the waits in the first step."""


def batch_on(device: torch.device) -> dict[str, Any]:
    """Return a batch as training has it, in which one image trains on its mask."""
    size = (SIDE, SIDE)
    batch = {
        "crf_image": torch.randint(0, 256, (IMAGES, 3, *size), dtype=torch.uint8),
        "cues": torch.rand(IMAGES, CLASSES, *size) < 0.1,
        "labels": torch.ones(IMAGES, CLASSES),
        "mask": torch.zeros(IMAGES, *size, dtype=torch.uint8),
        "masked": torch.tensor([True, False]),
    }
    return {name: values.to(device, non_blocking=True) for name, values in batch.items()}


def logits_on(device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.zeros(IMAGES, CLASSES, SIDE, SIDE, dtype=dtype).to(device).requires_grad_()


def train_loss(settings: str, device: str) -> dict[str, int]:
    """Compute the loss and its gradient in bfloat16; return the waits."""
    config = to_plain(compose("train", *words(settings)))
    terms = build_terms(config["loss"], config["seeds"]["grow"], bool(config["decay"]["adaptive"]))
    loss = build_loss(config, terms, SIDE**2, CLASSES)
    with fake_device(device) as fake:
        loss.to(fake.device)
        logits = logits_on(fake.device, torch.bfloat16)
        with torch.autocast(fake.device.type, torch.bfloat16):
            values = loss(logits, batch_on(fake.device))
        values["loss"].backward()
        assert {value.device for value in values.values()} == {fake.device}
        assert (logits.grad.device, logits.grad.dtype) == (fake.device, torch.bfloat16)
    return dict(fake.waits)


@pytest.mark.parametrize("device", LATTICE)
@pytest.mark.parametrize("settings", LOSSES)
def test_each_loss_trains_on_the_device_and_waits_where_it_is_meant(settings: str, device: str) -> None:
    expected = {name: count for waits in LOSSES[settings] for name, count in waits[device].items()}
    assert train_loss(settings, device) == expected


def test_a_fault_in_a_loss_is_found(plant: Plant) -> None:
    with plant(secseg.losses.constrain, "mean_over_images") as device:
        train_loss("loss=sec crf=exact_training", device)


def words(settings: str) -> list[str]:
    """Return the words of a command line; quotes hold one together."""
    parts = settings.split("'")
    return [word for at, part in enumerate(parts) for word in ([part] if at % 2 else part.split())]


@pytest.mark.parametrize("device", LATTICE)
@pytest.mark.parametrize(
    ("backend", "gradient", "waits"),
    [
        ("lattice", "stop", LATTICE),
        ("lattice", "diagonal", LATTICE),
        ("exact", "stop", EXACT),
        ("exact", "diagonal", EXACT),
        ("exact", "exact", EXACT),
        ("par", "stop", PAR),
        ("par", "exact", PAR),
        ("pydensecrf", "diagonal", PYDENSECRF),
    ],
)
def test_each_crf_returns_float32_on_the_device_of_the_scores(
    backend: str, gradient: str, waits: Waits, device: str
) -> None:
    if backend == "pydensecrf":
        pytest.importorskip("pydensecrf")
    for dtype in PRECISIONS:
        assert run_crf(backend, gradient, dtype, device) == waits[device]


def run_crf(backend: str, gradient: str, dtype: torch.dtype, device: str) -> dict[str, int]:
    """Run a CRF and, if there is a gradient, the backward pass; return the waits."""
    crf = build_crf(backend, CRFParams(iterations=2).scaled(12), gradient)
    with fake_device(device) as fake, torch.autocast(fake.device.type, torch.bfloat16):
        logits = logits_on(fake.device, dtype)
        probs = crf(logits, batch_on(fake.device)["crf_image"])
        assert (probs.device, probs.dtype, probs.requires_grad) == (fake.device, torch.float32, gradient != "stop")
        if probs.requires_grad:
            probs.square().sum().backward()
            assert (logits.grad.device, logits.grad.dtype) == (fake.device, dtype)
    return dict(fake.waits)


@pytest.mark.parametrize(
    ("backend", "module", "function"),
    [
        ("exact", secseg.crf.exact, "mean_field"),
        ("par", secseg.crf.par.Backend, "_weights"),
    ],
)
def test_a_fault_in_a_crf_is_found(backend: str, module: Any, function: str, plant: Plant) -> None:
    with plant(module, function) as device:
        run_crf(backend, "stop", torch.float16, device)
