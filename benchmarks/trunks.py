"""The trunks of conf/backbone: grids, channels, and what features and a training step cost. And timm's families.

    python -m benchmarks.trunks --threads 2
    python -m benchmarks.trunks --families      one model of each module of timm: which sizes it can process

The weights are drawn, which does not change the costs. Features are those of one image, with reading and resizing it. A
training step (``loss=sec optim=adamw``, the lattice CRF) has 15 images, 21 classes and cached features in memory. The
networks of options that are not frozen are frozen here. On a busy machine, the CPU time of all threads is closer to the
cost than the wall time; both are the least of all rounds.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import timm
import torch

from benchmarks.compare import digits, report
from benchmarks.step import Step
from secseg.data.classes import VOC_CLASSES
from secseg.data.samples import gather
from secseg.data.shapes_module import ShapesDataModule
from secseg.models import build_network
from secseg.models.input_sizes import InputSizes
from secseg.models.timm_models import family_of
from secseg.models.timm_trunk import TimmTrunk
from secseg.training.feature_cache import FeatureCache, attach_features
from secseg.utils.config import compose, config_dir, to_plain
from secseg.utils.device import keep_freed_memory
from secseg.utils.errors import UserError

IMAGES = 15
HEAD = (
    "| option | input | grid | channels | parameters, M | features, s | features, CPU s | cached, MB | step, s "
    "| step, CPU s |"
)
SMALL_NAMES = ("test", "pico", "atto", "nano", "tiny", "xxs", "_xs", "_s", "small", "18", "_b0", "0", "base")
REACH = 64


def row(option: str, rounds: int) -> str:
    """Return the line of the table for one option of conf/backbone."""
    words = (
        f"backbone={option}",
        "backbone.trunk.weights=null",
        "loss=sec",
        "optim=adamw",
        "trainer.precision=32-true",
    )
    config = to_plain(compose("train", "run_dir=.", *words))
    backbone = config["backbone"]
    torch.manual_seed(0)
    network = build_network(backbone, VOC_CLASSES).train()
    network.freeze = True
    network.trunk.requires_grad_(False).eval()
    side = backbone["input_size"]
    with TemporaryDirectory() as folder, torch.no_grad():
        data = ShapesDataModule(
            f"{folder}/shapes", draw_train=2, draw_val=1, limit=1, mirror=False, workers=0, feature_cache=folder
        )
        data.class_names = VOC_CLASSES
        data.open(cues=True, masks=False)
        attach_features(data, network, side)
        cache = FeatureCache(Path(folder), "trial", side, "opencv")
        image = data.train_images.images[0]
        size = cache.trial(image, network.features).size
        features = least(lambda: cache.trial(image, network.features), rounds)
        batch = gather([data.train_data[0, False]] * IMAGES)
    step = Step(network, "lattice", config, [batch])
    step()
    parameters = sum(parameter.numel() for parameter in network.trunk.parameters())
    channels = " + ".join(map(str, network.trunk.channels))
    grid = " x ".join(map(str, network.mask_size(side)))
    cells = (
        option,
        side,
        grid,
        channels,
        digits(parameters / 1e6),
        *features,
        f"{size / 1e6:.1f}",
        *least(step, rounds),
    )
    return f"| {' | '.join(map(str, cells))} |"


def least(work: Callable[[], object], rounds: int) -> tuple[str, str]:
    """Return the least wall time and the least CPU time of all threads, in seconds, over calls of ``work``."""
    wall, cpu = [], []
    for _ in range(rounds):
        started = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - started[0])
        cpu.append(time.process_time() - started[1])
    return digits(min(wall)), digits(min(cpu))


def families() -> Iterator[str]:
    """Yield a line for one small model of each module of timm."""
    yield "| module | model | levels | strides | sizes of the input |\n| --- | --- | --- | --- | --- |"
    for module in timm.list_modules():
        models = sorted(timm.list_models(module=module), key=rank)
        yield f"| {module} | {models[0]} | {' | '.join(sizes(models[0]))} |"


def rank(model: str) -> int:
    return next((at for at, part in enumerate(SMALL_NAMES) if part in model), len(SMALL_NAMES))


def sizes(model: str) -> tuple[str, str, str]:
    """Return the levels and strides of a model, and which sizes it can process, found without data."""
    try:
        with torch.device("meta"):
            trunk = TimmTrunk(model, None)
            levels = trunk.eval()(torch.empty(1, 3, trunk.trained_size, trunk.trained_size))
        if [level.shape[1] for level in levels] != list(trunk.channels):
            return "", "", f"wrong channels: {[tuple(level.shape) for level in levels]}"
        grids = InputSizes(trunk)
        start = trunk.trained_size
        fitting = [size for size in range(start, start + REACH + 1) if grids._fitting(size)]
        common = math.gcd(*(size - start for size in fitting))
        if common:
            which = "any" if common == 1 else f"multiples of {common}"
        else:
            which = built_for(model, start, max(stage["reduction"] for stage in family_of(model).stages))
        return str(len(levels)), " ".join(map(str, trunk.strides)), which
    except Exception as error:
        return "", "", f"no: {str(error).partition(chr(10))[0]}"


def built_for(model: str, start: int, step: int) -> str:
    """Return for which other sizes a model of one size can be built."""
    for size in range(start + step, start + 8 * step + 1, step):
        try:
            with torch.device("meta"):
                TimmTrunk(model, None, input_size=size)
        except UserError:
            continue
        return f"those that it is built for, such as {start} and {size}"
    return f"{start} only"


def main() -> None:
    keep_freed_memory()  # as the commands do
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="counted images and steps of each trunk")
    parser.add_argument("--threads", type=int, help="number of torch's threads")
    parser.add_argument("--families", action="store_true", help="the sizes of timm's families instead")
    parser.add_argument("options", nargs="*", help="options of conf/backbone; without any, all that name a model")
    chosen = parser.parse_args()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    warnings.filterwarnings("ignore")  # of timm, and of Lightning: there is no trainer
    if chosen.families:
        lines = []
        for line in families():
            print(line, flush=True)
            lines.append(line)
        report("trunk_families", f"Models of timm {timm.__version__} as trunks", {"Sizes": "\n".join(lines)})
        return
    every = sorted(path.stem for path in (config_dir() / "backbone").glob("*.yaml"))
    lines = [HEAD, f"| {' | '.join(['---'] * 4 + ['---:'] * 6)} |"]
    for option in chosen.options or [name for name in every if name != "timm"]:
        lines.append(row(option, chosen.rounds))
        print(lines[-1], flush=True)
    title = "Trunks with drawn weights: features of one image, and a training step of 15 images with cached features"
    report("trunks", title, {"Trunks": "\n".join(lines)})


if __name__ == "__main__":
    main()
