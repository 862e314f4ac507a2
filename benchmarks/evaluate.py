"""Evaluation end to end: the masks of a trained network for a whole split, with the CRF, and their scores.

    python -m benchmarks.evaluate --root <VOC2012> --ckpt <run folder>
    python -m benchmarks.evaluate --root <VOC2012> --ckpt <run folder> --limit 40 --rounds 1

Each way loads the network, reads each image and its mask, predicts at full size without and with the CRF, and scores
both. The public ports run the network on one image at a time, with all of torch's threads, and at the same time
pydensecrf in a pool of two processes. The network alone (no CRF) shows the share of the CRF.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir

from benchmarks import crf as crf_benchmark
from benchmarks.compare import alternate, report, timing_table
from secseg.data.datamodule import ImageDataModule
from secseg.data.images import read_image
from secseg.data.masks import read_mask
from secseg.data.transforms import evaluation_input
from secseg.evaluation.evaluate import open_data, score_network
from secseg.evaluation.scores import Evaluation
from secseg.inference.full_size import full_size_probs, predict_mask
from secseg.models.files.load import load_network
from secseg.utils.config import config_dir, to_plain
from secseg.utils.device import keep_freed_memory, multiplies_in_bfloat16

PEERS = "plain torch, pydensecrf in a pool of 2 processes"
OURS = {
    "evaluate": [],
    "evaluate, inference.drop_labels_below=0.05": ["inference.drop_labels_below=0.05"],
    "evaluate, inference.precision=bf16": ["inference.precision=bf16"],
    "network alone (crf=off)": ["crf=off"],
    "network alone, inference.precision=bf16": ["crf=off", "inference.precision=bf16"],
}


def ours(config: dict[str, Any], data: ImageDataModule) -> dict[str, Evaluation]:
    return score_network(config, data).evaluations


def peers(config: dict[str, Any], data: ImageDataModule) -> dict[str, Evaluation]:
    """Compute the same figures as the public ports do."""
    images = data.val_images
    assert images.masks is not None
    evaluations = {name: Evaluation(data.class_names, data.scored) for name in ("without_crf", "with_crf")}
    with multiprocessing.get_context("fork").Pool(2, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        network = load_network(config["ckpt"])
        found = []
        with torch.inference_mode():
            for name, path, mask in zip(images.names, images.images, images.masks, strict=True):
                image = read_image(path)
                scores = network(evaluation_input(image, network.input_size)[None])[0]
                arguments = (name, path, mask, scores.numpy(), data.class_names, data.scored)
                found.append(pool.apply_async(refine_and_score, arguments))
        for one in found:
            for evaluation, part in zip(evaluations.values(), one.get(), strict=True):
                evaluation.merge(part)
    return evaluations


def refine_and_score(name: str, path: Path, mask: Path, scores: Any, classes: Any, scored: Any) -> list[Evaluation]:
    """Run in a process of the pool: enlarge the probabilities, run pydensecrf, score without and with it."""
    image = read_image(path)
    probs = full_size_probs(torch.from_numpy(scores), image.shape[:2])
    crf_benchmark.INHERITED = [(probs, image)]
    parts = [Evaluation(classes, scored) for _ in range(2)]
    truth = read_mask(mask, len(classes), image.shape[:2])
    for part, predicted in zip(parts, (predict_mask(probs), crf_benchmark.peer(0)), strict=True):
        part.update(name, predicted, truth)
    return parts


def main() -> None:
    keep_freed_memory()  # as the commands do
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="VOC2012")
    parser.add_argument("--ckpt", required=True, help="run folder or network of VOC's classes")
    parser.add_argument("--limit", type=int, help="number of images, the first of the split (all)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bf16", action="store_true", help="rows in bf16 also on processors without bfloat16")
    options = parser.parse_args()

    def config(words: list[str]) -> dict[str, Any]:
        given = [f"ckpt={options.ckpt}", f"root={options.root}", "run_dir=.", "device=cpu"]
        return to_plain(compose("evaluate", [*given, f"limit={options.limit or 'null'}", *words]))

    half = options.bf16 or multiplies_in_bfloat16("cpu")
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        configs = {name: config(words) for name, words in OURS.items() if half or "bf16" not in name}
    data = open_data(configs["evaluate"])
    figures: dict[str, dict[str, Evaluation]] = {}

    def way(name: str, call: Callable[..., dict[str, Evaluation]], config: dict[str, Any]) -> Callable[[], None]:
        return lambda: figures.update({name: call(config, data)})

    ways = {PEERS: way(PEERS, peers, configs["evaluate"])}
    ways |= {name: way(name, ours, config) for name, config in configs.items()}
    count = len(data.val_images.names)
    seconds = alternate(ways, options.rounds, warm=0)
    rows = ["| way | mean IoU, % | with CRF, % |", "| --- | ---: | ---: |"]
    for name, found in figures.items():
        kinds = ("without_crf", "with_crf")
        both = [f"{100 * found[kind].compute()['miou']:.3f}" if kind in found else "-" for kind in kinds]
        rows.append(f"| {name} | {both[0]} | {both[1]} |")
    table = timing_table(seconds, PEERS, per=count)
    side = load_network(options.ckpt).input_size
    title = f"Evaluation end to end: {count} images of VOC 2012, 21 labels, input of side {side}"
    report("evaluate", title, {"Milliseconds per image": table, "Figures": "\n".join(rows)})


if __name__ == "__main__":
    main()
