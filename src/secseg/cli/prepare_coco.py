"""python src/prepare_coco.py"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secseg.cli.command import run_command
from secseg.utils.program import command
from secseg.utils.quoting import override

EXAMPLES = """
python src/prepare_coco.py                                       download, extract and draw masks, in data/coco
python src/prepare_coco.py root=/data/coco archives=~/Downloads  from downloaded archives
python src/prepare_coco.py root=/data/coco masks=smallest        the smallest of several objects on top
"""


def task(config: Mapping[str, Any]) -> Path:
    from secseg.data.prepare_coco import prepare
    from secseg.runs.run_writer import write_config, write_results

    run = Path(config["run_dir"])
    write_config(run, config)
    instances = prepare(config["root"], config["archives"], config["masks"])
    images = {part: len(found.images) for part, found in instances.items()}
    labelled = {part: sum(map(bool, found.labels.values())) for part, found in instances.items()}
    results = {"data": config["root"], "images": images, "images_with_labels": labelled, "masks": config["masks"]}
    write_results(run, results)
    cues = command("make_cues", "data=coco14", override("data.root", config["root"]))
    print(f"{config['root']} is complete. Make cues from its labels with: {cues}")
    return run


def main() -> None:
    run_command("prepare_coco", task, EXAMPLES)
