"""python src/evaluate.py"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from secseg.cli.command import run_command

if TYPE_CHECKING:
    from omegaconf import DictConfig

EXAMPLES = """
python src/evaluate.py ckpt=<run folder>                                 its own validation split, official protocol
python src/evaluate.py ckpt=<run folder> split=val root=<VOC2012>        another split or place
python src/evaluate.py ckpt=<run folder> inference=multi_scale crf=off   scales and mirror images, no CRF
python src/evaluate.py masks=<folder> data=voc12aug root=<VOC2012>       anyone's predicted masks
"""


def task(cfg: DictConfig) -> Path:
    from secseg.utils.config import to_plain

    config = to_plain(cfg)
    from secseg.evaluation.evaluate import evaluate
    from secseg.utils.device import keep_freed_memory

    keep_freed_memory()
    evaluate(config)
    return Path(config["run_dir"])


def main() -> None:
    run_command("evaluate", task, EXAMPLES)
