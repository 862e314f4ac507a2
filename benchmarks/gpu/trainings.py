"""Short trainings: equal twice, equal after a resume, and in half precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor

from benchmarks.compare import milliseconds
from benchmarks.gpu.setup import Setup, relative
from benchmarks.gpu.table import Row, at_most
from secseg.training.run import build_loss, build_training_terms
from secseg.training.run import train as run_training
from secseg.utils.config import compose

QUIET = ["callbacks.progress=null", "callbacks.scores=null", "callbacks.pictures=null", "callbacks.curves=null"]
QUIET += ["callbacks.predictions=null", "evaluation.pictures=0", "evaluation.crf=never", "trainer.log_every_n_steps=1"]
STEPS, STOP = 6, 4
"""Steps of a training; the step before which one is interrupted. Checkpoints are written after each half."""
METHODS = {"sec_plus": ["loss=sec_plus", "seeds=grow", "decay=adaptive"], "sec": []}
"""The small form takes the first one."""
FIXED = "trainer.deterministic=true"
PRECISIONS = {"bf16-mixed": (torch.bfloat16, 5e-2), "16-mixed": (torch.float16, 1e-2)}
"""Precisions with their type, and the largest relative difference from float32 that is expected of a term."""
TRAINED_LIMIT = 5e-2
"""The same after a training. With 16-mixed, its first steps may be skipped, until the scale of the loss fits."""


class Interrupted(Exception):
    """Raised by ``Interrupt``."""


class Interrupt(pl.Callback):
    """Ends a training before its step ``STOP``, counted from 0."""

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == STOP:
            raise Interrupted


class Trained(NamedTuple):
    """The weights of a training, on the CPU, its last losses, and the seconds of a step."""

    weights: dict[str, Tensor]
    losses: dict[str, float]
    step_seconds: float


def words(setup: Setup, name: str, *more: str) -> list[str]:
    """Return the command line of a training on drawn images, with the run folder ``name``."""
    accelerator = {"cuda": "gpu"}.get(setup.device.type, setup.device.type)
    drawn = [f"data.draw_train={6 if setup.small else 30}", "data.draw_val=2", f"data.root={setup.folder / 'shapes'}"]
    steps = [f"trainer.max_steps={STEPS}", f"trainer.val_check_interval={STEPS // 2}"]
    run = [f"trainer.accelerator={accelerator}", f"run_dir={setup.folder / name}", f"name={name}"]
    return [*setup.words, "data=shapes", *drawn, "data.workers=0", *steps, *run, *QUIET, *more]


def train(setup: Setup, name: str, *more: str, callbacks: tuple[pl.Callback, ...] = ()) -> Trained:
    """Train as ``src/train.py`` does. Afterwards, torch uses its usual algorithms again."""
    try:
        found = run_training(compose("train", *words(setup, name, *more)), callbacks)
    finally:
        torch.use_deterministic_algorithms(False)
    weights = {key: value.cpu() for key, value in found["module"].state_dict().items()}
    return Trained(weights, found["results"]["losses"], found["results"]["time"]["step_seconds"])


def deterministic(setup: Setup) -> Iterator[Row]:
    """Yield whether two trainings with ``trainer.deterministic=true`` have the same weights, and what a step costs."""
    for method, chosen in methods(setup):
        plain = [train(setup, f"{method}_plain_{n}", *chosen) for n in "12"]
        fixed = [train(setup, f"{method}_{n}", *chosen, FIXED) for n in "12"]
        yield same(f"{method}, twice", *fixed)
        yield Row(f"{method}, twice without the setting", same("", *plain).figure)
        costs = milliseconds(fixed[1].step_seconds), milliseconds(plain[1].step_seconds)
        yield Row(f"{method}, a step", f"{costs[0]}, without the setting {costs[1]}")


def resume(setup: Setup) -> Iterator[Row]:
    """Yield whether a resumed training has the weights of an uninterrupted one."""
    for method, chosen in methods(setup):
        whole = train(setup, f"{method}_whole", *chosen, FIXED)
        with suppress(Interrupted):
            train(setup, f"{method}_resumed", *chosen, FIXED, callbacks=(Interrupt(),))
        resumed = train(setup, f"{method}_resumed", *chosen, FIXED, "resume=auto")
        yield same(f"{method}, interrupted after step {STOP} of {STEPS}", whole, resumed)


def methods(setup: Setup) -> list[tuple[str, list[str]]]:
    return list(METHODS.items())[: 1 if setup.small else None]


def different(first: Trained, second: Trained) -> dict[str, float]:
    """Return the relative differences of the tensors that differ."""
    pairs = {name: (first.weights[name], other) for name, other in second.weights.items()}
    return {name: relative(*pair) for name, pair in pairs.items() if not torch.equal(*pair)}


def same(what: str, first: Trained, second: Trained) -> Row:
    found = different(first, second)
    most = f", by up to {max(found.values()):.1e}" if found else ""
    return Row(what, f"{len(found)} of {len(first.weights)} tensors differ{most}", "none differs", not found)


def precision(setup: Setup) -> Iterator[Row]:
    """Yield the terms of the loss in half precision, relative to float32: of the same weights, and after a training."""
    reference, trained = losses(setup, torch.float32), train(setup, "32-true").losses
    for name, (dtype, limit) in PRECISIONS.items():
        for term, apart in apart_from(reference, losses(setup, dtype)).items():
            yield at_most(f"{name}, {term}", apart, limit)
        if name == "16-mixed" and setup.device.type == "cpu":
            yield Row(f"{name}, after {STEPS} steps", "not measured: Lightning has it on GPUs only")
            continue
        found = apart_from(trained, train(setup, name, f"trainer.precision={name}").losses)
        yield at_most(f"{name}, after {STEPS} steps", found, TRAINED_LIMIT)


@torch.no_grad()
def losses(setup: Setup, dtype: torch.dtype) -> dict[str, float]:
    """Return the terms of the loss of the batch, whose scores the network computes in ``dtype``."""
    network, batch = setup.network(setup.device), setup.batch(setup.device)
    config = setup.config("loss.balanced_seed=1", "loss.crf_energy=1", "loss.normalized_cut=1")
    with torch.autocast(setup.device.type, dtype, enabled=dtype != torch.float32):
        scores = network(batch["image"])
    loss = build_loss(config, build_training_terms(config), scores[0, 0].numel(), scores.shape[1])
    return {name: float(value) for name, value in loss.to(setup.device)(scores, batch).items() if name != "loss"}


def apart_from(reference: dict[str, float], found: dict[str, float]) -> dict[str, float]:
    return {name: abs(found[name] - value) / abs(value) for name, value in reference.items()}
