"""Times: the CRF of a training batch, the step of ``experiment=paper`` with and without it; and peak memory."""

from __future__ import annotations

import datetime
import statistics
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

from benchmarks.compare import milliseconds, ratios
from benchmarks.gpu.setup import Setup
from benchmarks.gpu.table import Row
from benchmarks.step import Step
from secseg.crf import CRFParams, build_crf

STEPS = 8000
"""Steps of ``experiment=paper``."""
LOOP = "pydensecrf in a loop"
NAMES = {"none": "without CRF", "pydensecrf": LOOP}


def installed(backends: Sequence[str]) -> list[str]:
    return [name for name in backends if name != "pydensecrf" or find_spec("pydensecrf") is not None]


def training_crf(setup: Setup) -> Iterator[Row]:
    """Yield the time of each backend for a training batch, whose scores are on the device."""
    params, images = CRFParams().scaled(12), setup.batch(setup.device)["crf_image"]
    scores = setup.scores.to(setup.device)
    backends = installed(("pydensecrf", "lattice", "exact", "par"))
    ways = {name: partial(build_crf(name, params), scores, images) for name in backends}
    seconds = setup.time(ways)
    size = f"{len(scores)} of {scores.shape[2]} x {scores.shape[3]}"
    if "pydensecrf" not in ways:
        yield Row(f"{LOOP}, {size}", "not measured: pydensecrf is not installed")
    faster = ratios(seconds, "pydensecrf") if "pydensecrf" in ways else {}
    for name, values in seconds.items():
        compared = f", {faster[name]:.2f} times as fast as the loop" if name in faster and name != "pydensecrf" else ""
        yield Row(f"{NAMES.get(name, name)}, {size}", milliseconds(statistics.median(values)) + compared)


def step(setup: Setup) -> Iterator[Row]:
    """Yield the time of a step with each CRF and without one, what all steps would take, and peak memory."""
    batches = [setup.batch(setup.device)]
    for precision in ("32-true", "bf16-mixed"):
        config = setup.config(f"trainer.precision={precision}")

        def make(backend: str, config: dict[str, Any] = config) -> Step:
            return Step(setup.network(setup.device).train(), backend, config, batches)

        seconds = setup.time({name: make(name) for name in installed(("none", "lattice", "exact", "pydensecrf"))})
        faster = ratios(seconds, "none")
        for name, values in seconds.items():
            middle = statistics.median(values)
            whole = datetime.timedelta(seconds=round(STEPS * middle))
            compared = "" if name == "none" else f", {1 / faster[name]:.2f} times the step without CRF"
            what = f"{precision}, {NAMES.get(name, name)}"
            yield Row(what, f"{milliseconds(middle)}, {STEPS:,} in {whole}{compared}")
        for name in ("none", "lattice"):
            yield Row(f"{precision}, {NAMES.get(name, name)}, peak memory", setup.peak_of(make(name), calls=2))
