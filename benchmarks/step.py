"""A training step with and without the CRF, and with the CRF as in the public ports: pydensecrf, image by image.

    python -m benchmarks.step --root <VOC2012>     without --root: on the built-in shapes
    python -m benchmarks.step --profile            also the share of each part of the step

The step is that of ``experiment=voc_animals``: SECModule's training step, backward and the optimiser's step, on 15
images, 21 classes and cached features in memory.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from pytorch_lightning.utilities import move_data_to_device

from benchmarks.compare import alternate, report, timing_table
from secseg.data.classes import VOC_CLASSES
from secseg.data.samples import gather
from secseg.data.shapes_module import ShapesDataModule
from secseg.data.voc_module import VOCDataModule
from secseg.losses import terms
from secseg.models import SegmentationNet, build_network
from secseg.training.feature_cache import attach_features
from secseg.training.module import SECModule
from secseg.training.optimizers import build_optimizer
from secseg.training.run import build_loss, build_training_terms
from secseg.utils.config import compose, to_plain
from secseg.utils.device import keep_freed_memory, resolve_precision

BATCHES = 2
WAYS = {
    "pydensecrf in a loop": "pydensecrf",
    "lattice": "lattice",
    "exact": "exact",
    "no CRF": "none",
}


class Step:
    """A training step on the next batch, with the CRF of ``backend`` (``none``: without the constrain term)."""

    def __init__(
        self, network: SegmentationNet, backend: str, config: dict[str, Any], batches: list[dict[str, Any]]
    ) -> None:
        height, width = network.mask_size(config["backbone"]["input_size"])
        config = {**config, "crf": {"train": {**config["crf"]["train"], "backend": backend}}}
        loss = build_loss(config, build_training_terms(config), height * width, len(network.class_names))
        self.device = next(network.parameters()).device.type
        self.module = SECModule(copy.deepcopy(network), loss, config["optim"], VOCDataModule.palette).to(self.device)
        self.optimizer, self.schedule = build_optimizer(
            self.module.network, self.module.network.head.classifier, config["optim"], config["trainer"]["max_steps"]
        )
        self.mixed = config["trainer"]["precision"] == "bf16-mixed"
        self.batches: Iterator[dict[str, Any]] = itertools.cycle(batches)

    def __call__(self) -> None:
        with torch.autocast(self.device, torch.bfloat16, enabled=self.mixed):
            loss = self.module.training_step(next(self.batches), 0)
        self.optimizer.zero_grad()
        self.backward(loss)
        self.optimizer.step()
        self.schedule.step()
        finish(self.device)

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()


def finish(device: str) -> None:
    """Synchronise with an accelerator."""
    if device == "cuda":
        torch.cuda.synchronize()


def profile(step: Step, rounds: int) -> str:
    """Return a Markdown table of the share of each part of ``step``, in percent."""
    seconds: dict[str, float] = {}

    def timed(name: str, part: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            started, before = time.perf_counter(), sum(seconds.values())
            result = part(*args, **kwargs)
            finish(step.device)
            within = sum(seconds.values()) - before  # parts that this one called
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started - within
            return result

        return call

    network, loss = step.module.network, step.module.loss
    places: list[tuple[str, Any, str]] = [
        ("features to scores", network, "classify"),
        ("floored softmax", terms, "floor_softmax"),
        *((name, type(term), "__call__") for name, term in loss.terms.items()),
        ("backward", step, "backward"),
        ("optimiser", step.optimizer, "step"),
    ]
    if loss.crf is not None:
        places.insert(1, ("CRF", loss, "crf"))
    before = [getattr(owner, name) for _, owner, name in places]
    step()
    try:
        for (part, owner, name), original in zip(places, before, strict=True):
            setattr(owner, name, timed(part, original))
        whole = sum(alternate({"step": step}, rounds, warm=0)["step"])
    finally:
        for (_, owner, name), original in zip(places, before, strict=True):
            setattr(owner, name, original)
    seconds["the rest"] = whole - sum(seconds.values())
    rows = [f"| {part} | {100 * value / whole:.1f} |" for part, value in seconds.items()]
    return "\n".join(["| part | share of the step, % |", "| --- | ---: |", *rows])


def load_batches(config: dict[str, Any], network: SegmentationNet, root: Path | None, folder: str) -> list[Any]:
    """Return batches of the first training images, with the features of the trunk, which are cached in ``folder``."""
    size, count = config["data"]["batch_size"], config["data"]["batch_size"] * BATCHES
    settings: dict[str, Any] = {"limit": count, "workers": 0, "mirror": False, "feature_cache": f"{folder}/features"}
    data: VOCDataModule
    if root is None:
        data = ShapesDataModule(f"{folder}/shapes", draw_train=count, draw_val=1, **settings)
    else:
        data = VOCDataModule(str(root), train_split=config["data"]["train_split"], **settings)
    data.class_names = VOC_CLASSES
    data.open(cues=True, masks=False)
    data.val_images = data.val_images.take([0])
    with torch.no_grad():
        attach_features(data, network, config["backbone"]["input_size"])
    samples = [data.train_data[number, False] for number in range(count)]
    return [gather(samples[start : start + size]) for start in range(0, count, size)]


def main() -> None:
    keep_freed_memory()  # as the commands do
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="VOC2012, with cues next to it; without it, the built-in shapes")
    parser.add_argument("--rounds", type=int, default=10, help="counted steps of each way")
    parser.add_argument("--threads", type=int, help="number of torch's threads")
    parser.add_argument("--profile", action="store_true", help="also time the parts of the step")
    parser.add_argument("overrides", nargs="*", help="overrides of the config, such as trainer.precision=32-true")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", message=r"You are trying to `self.log\(\)`")  # there is no trainer
    config = to_plain(compose("train", "experiment=voc_animals", "data.root=.", "run_dir=.", *options.overrides))
    precision = resolve_precision(config["trainer"]["precision"], config["trainer"]["accelerator"])
    config["trainer"]["precision"] = precision
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = build_network(config["backbone"], VOC_CLASSES).to(device).train()
    with TemporaryDirectory() as folder:
        batches = move_data_to_device(load_batches(config, network, options.root, folder), torch.device(device))
    ways = {name: Step(network, backend, config, batches) for name, backend in WAYS.items()}
    seconds = alternate(ways, options.rounds, warm=2)
    sections = {"A training step": timing_table(seconds, against=next(iter(WAYS)))}
    if options.profile:
        sections |= {f"Parts: {name}": profile(ways[name], options.rounds) for name in ("lattice", "no CRF")}
    what = "images of VOC 2012" if options.root else "the built-in shapes"
    report(f"step_{precision}", f"A training step of 15 images, 21 classes, 41 x 41, {precision}, on {what}", sections)


if __name__ == "__main__":
    main()
