"""Whole training steps of networks that are trained completely, compared with plain PyTorch (``benchmarks/plain.py``).

    python -m benchmarks.whole_step --batch 2        the paper's network and ResNet-50, on the built-in shapes

A step is the forward pass, the CRF, the loss, the backward pass and the optimiser's step, in float32, on images of
321 x 321 with 21 classes. The weights are random. ``channels_last`` is our step with torch's own convolutions.
"""

from __future__ import annotations

import argparse
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from benchmarks.compare import alternate, report, timing_table
from benchmarks.plain import PlainResNet, PlainStep, PlainVGG
from benchmarks.step import Step, load_batches
from secseg.data.classes import VOC_CLASSES
from secseg.models import build_network
from secseg.models.cpu import PointwiseConv, TrainedConv
from secseg.utils.config import compose, to_plain
from secseg.utils.device import keep_freed_memory

NETWORKS = {"vgg16_largefov": PlainVGG, "resnet50": PlainResNet}


def ways(backbone: str, batch_size: int) -> dict[str, Any]:
    """Return the steps of one network by name."""
    words = ["experiment=paper", f"backbone={backbone}", "backbone.trunk.weights=null", "trainer.precision=32-true"]
    words += [f"data.batch_size={batch_size}", "data.root=.", "run_dir=."]
    config = to_plain(compose("train", *words))
    torch.manual_seed(0)
    network = build_network(config["backbone"], VOC_CLASSES).train()
    with TemporaryDirectory() as folder:
        batches = load_batches(config, network, None, folder)[:1]
    ours, usual = Step(network, "lattice", config, batches), Step(network, "lattice", config, batches)
    for module in usual.module.network.modules():
        if isinstance(module, PointwiseConv | TrainedConv):
            module.__class__ = nn.Conv2d
    plain = PlainStep(NETWORKS[backbone](len(VOC_CLASSES)), batches[0])
    return {"plain PyTorch, pydensecrf": plain, "secseg, torch's convolutions": usual, "secseg": ours}


def main() -> None:
    keep_freed_memory()  # as the commands do
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=2, help="images in a batch")
    parser.add_argument("--rounds", type=int, default=5, help="counted steps of each way")
    parser.add_argument("--threads", type=int, help="number of torch's threads")
    parser.add_argument("--backbones", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    sections = {}
    for backbone in options.backbones:
        seconds = alternate(ways(backbone, options.batch), options.rounds)
        sections[backbone] = timing_table(seconds, "plain PyTorch, pydensecrf", unit="s")
    name = f"whole_step_{options.batch}_{torch.get_num_threads()}"
    report(name, f"A whole training step of {options.batch} images of 321 x 321, 21 classes, float32", sections)


if __name__ == "__main__":
    main()
