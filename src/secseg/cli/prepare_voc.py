"""python src/prepare_voc.py"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secseg.cli.command import run_command
from secseg.utils.program import command
from secseg.utils.quoting import override

EXAMPLES = """
python src/prepare_voc.py                                       download, extract and check, in data/voc
python src/prepare_voc.py root=/data/voc archives=~/Downloads   from downloaded archives
python src/prepare_voc.py cues=localization_cues.pickle         with the official cues
"""


def task(config: Mapping[str, Any]) -> Path:
    from secseg.data.prepare_voc import prepare
    from secseg.data.voc import open_split
    from secseg.runs.run_writer import write_config, write_results

    run = Path(config["run_dir"])
    write_config(run, config)
    folder = prepare(config["root"], config["archives"], config["cues"])
    images = {split: len(open_split(folder, split, require_masks=True).names) for split in ("train_aug", "val")}
    write_results(run, {"data": folder, "images": images, "cues": config["cues"]})
    train = command("train", "data=voc12aug", override("data.root", config["root"]))
    print(f"{folder} is complete. Train on it with: {train}")
    return run


def main() -> None:
    run_command("prepare_voc", task, EXAMPLES)
