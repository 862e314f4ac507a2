"""The command on toy images, with a tiny network and a few steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secseg.cli.make_cues import main
from secseg.data.classes import voc_palette
from secseg.data.masks import save_mask
from tests.command import Outcome, run_in_process
from tests.cue_making.toy import CLASSES, draw

COUNT = 12
SETTINGS = ["localization=timm", "cues.grid=9", "data.workers=0", "data.feature_cache=off", "device=cpu", "workers=2"]
SETTINGS += [
    f"localization.{name}.{word}"
    for name in ("foreground", "background")
    for word in (
        *("network.trunk.model=test_efficientnet", "network.trunk.weights=null", "network.input_size=65"),
        *("network.head.width=8", "steps=3", "batch_size=4", "validate_every=2", "holdout=0.2"),
    )
]
SETTINGS.append("localization.background.steps=4")
Make = Callable[..., Outcome]


def toy_folder(root: Path) -> Path:
    """Toy images with a table; two of them, in the training split, have a mask."""
    images, labels = draw(root / "images", COUNT)
    lines = [f"{name},{';'.join(CLASSES[number] for number in labels[name])}" for name in images.names]
    (root / "labels.csv").write_text("\n".join(["image,labels", *lines]))
    for name in ("image01", "image07"):
        save_mask(np.ones((66, 66), np.uint8), root / "masks" / f"{name}.png", voc_palette())
    return root


def run(root: Path, out: Path, patch: pytest.MonkeyPatch, capsys: Any, *words: str) -> Outcome:
    folder = root.parent / f"run{len(list(root.parent.glob('run*')))}"
    patch.chdir(root.parent)
    patch.delenv("HYDRA_FULL_ERROR", raising=False)
    data = ["data=folder", f"data.root={root}", "data.train_split=all", f"out={out}"]
    return run_in_process(main, [*data, *SETTINGS, *words], folder, patch, capsys)


def snapshot(root: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of change of each file of networks, maps and cues."""
    files = [path for name in ("networks", "maps", "cues") for path in (root / name).rglob("*") if path.is_file()]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in [*files, root / "cues.safetensors"]}


def ran(outcome: Outcome) -> list[str]:
    assert outcome.code == 0, outcome.output + outcome.error
    assert outcome.results is not None
    return outcome.results["ran"]
