"""python src/evaluate.py"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secseg.cli.command import run_command
from secseg.cli.places import check_places

EXAMPLES = """
python src/evaluate.py ckpt=<run folder>                                 its own validation split, official protocol
python src/evaluate.py ckpt=<run folder> split=val root=<VOC2012>        another split or place
python src/evaluate.py ckpt=<run folder> inference=multi_scale crf=off   scales and mirror images, no CRF
python src/evaluate.py masks=<folder> data=voc12aug root=<VOC2012>       anyone's predicted masks
"""


def task(config: Mapping[str, Any]) -> Path:
    if config["ckpt"] is None or config["masks"] is None:  # else one of them is refused
        check_places(config)
    from secseg.evaluation.evaluate import evaluate

    evaluate(config)
    return Path(config["run_dir"])


def main() -> None:
    run_command("evaluate", task, EXAMPLES)
