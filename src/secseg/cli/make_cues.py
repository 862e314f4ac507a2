"""python src/make_cues.py"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secseg.cli.command import given_settings, run_command
from secseg.cli.places import check_data, check_places
from secseg.utils.program import command
from secseg.utils.quoting import override

EXAMPLES = """
python src/make_cues.py data=folder data.root=<folder>                       your own images and labels.csv
python src/make_cues.py data=voc12aug data.root=<VOC2012> data.labels=masks  VOC, labels from its masks
python src/make_cues.py localization=paper cues=official data=voc12aug       the paper's two networks, on a GPU
python src/make_cues.py data=folder data.root=<folder> cues.threshold=0.3    again: up-to-date results are reused
python src/make_cues.py stage=audit cue_file=<any cue file> '~data'          a cue file alone, without its images
python src/make_cues.py stage=audit cue_file=<any cue file> data=voc12aug    how good cues are, ours or anyone's
"""


MINE = "runs/mine"
"""The run folder of the commands in docs/own_images.md."""


def task(config: Mapping[str, Any]) -> Path:
    check_data(config.get("data"))
    check_places(config)
    from secseg.cue_making.make_cues import make_cues  # imports torch: after the checks of the command line

    results = make_cues(config)
    cues = results["protocol"]["cues"]
    if config["cue_file"] is None and cues is not None:
        print(f"Train on them with: {training_command(cues['file'], (config.get('data') or {}).get('root'))}")
    return Path(config["run_dir"])


def training_command(cues: Path, root: str | None) -> str:
    """Return the command that trains on the cues, with the settings of the data and packages given for them. Your own
    images have a recipe, which chooses ``data=folder``, and a fast one that follows fast cues. As in the documentation,
    the run folder is ``runs/mine`` if there is none yet, and ``data.cues`` is left out if training finds them."""
    from secseg.data.cues.files import find_cues

    given = given_settings()
    data = [word for word in given if word.startswith(("data=", "data.")) and not word.startswith("data.cues=")]
    recipe = "own_images_fast" if "localization=efficientnet_lite0_fast" in given else "own_images"
    data = [f"experiment={recipe}" if word == "data=folder" else word for word in data]
    packages = [
        word for word in (*given, *given_settings("hydra")) if word.startswith(("plugins=", "hydra.searchpath="))
    ]
    folder = [f"run_dir={MINE}"] if "data=folder" in given and not Path(MINE).exists() else []
    found = root is not None and find_cues(root) == Path(cues).absolute()
    return command("train", *data, *([] if found else [override("data.cues", cues)]), *folder, *packages)


def main() -> None:
    run_command("make_cues", task, EXAMPLES)
