"""python src/predict.py"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secseg.cli.command import run_command
from secseg.cli.places import check_places

EXAMPLES = """
python src/predict.py ckpt=<run folder> images=photos out=masks                   a folder, with its subfolders
python src/predict.py ckpt=<run folder> images=photos out=masks overlays=true     with overlays to look at
python src/predict.py ckpt=<run folder> 'images="photos/*.jpg"' crf=off           without CRF
python src/predict.py ckpt=<run folder> images=train_aug root=<VOC2012> labels=localization_cues.pickle
python src/predict.py ckpt=<run folder> images=test root=<VOC2012> server=true    results.tar for the VOC server
"""


def task(config: Mapping[str, Any]) -> Path:
    check_places(config)
    from secseg.inference.predict import predict

    problem = predict(config)
    run = Path(config["run_dir"])
    if problem is not None:
        print(f"run: {run}", flush=True)  # the run exists, although some images failed
        raise problem
    return run


def main() -> None:
    run_command("predict", task, EXAMPLES)
