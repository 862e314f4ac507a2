"""The content of an offline W&B run, read from the file that `wandb sync` sends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from secseg.drawing.wandb import STEP, build_dashboard
from secseg.losses.terms import TERMS
from secseg.runs.wandb_logger import BEST_AND_LAST
from tests.conftest import REPOSITORY
from tests.runs.wandb_file import WandbRun, read_wandb_run
from tests.training.tiny_run import TINY

SETTINGS = ["-m", "loss=seed,sec", "name=study", "logger=[csv,wandb]", "logger.wandb.mode=offline"]
STEPS = ["trainer.max_steps=2", "trainer.val_check_interval=1"]
AXES = {"trainer/global_step", "epoch"}
CLASSES = ["background", "bird", "car", "fish", "flower", "house", "mushroom", "tree"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a sweep with two jobs, started from the command line."""
    folder = tmp_path_factory.mktemp("wandb")
    result = subprocess.run(
        [sys.executable, str(REPOSITORY / "src" / "train.py"), *SETTINGS, *TINY, *STEPS, f"data.root={folder}/shapes"],
        cwd=folder,
        env={key: value for key, value in os.environ.items() if not key.startswith("WANDB_")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return folder / "runs" / "study"


@pytest.fixture(scope="module")
def runs(study: Path) -> dict[str, WandbRun]:
    """Return the W&B runs by name."""
    files = study.glob("*/wandb/offline-run-*/*.wandb")
    return {found.run.display_name: found for found in map(read_wandb_run, files)}


def series(found: WandbRun, key: str) -> list[float]:
    return [row[key] for row in found.history if key in row]


def scalars(found: WandbRun) -> set[str]:
    """Return the keys of the numbers that a run logs, without those of W&B."""
    values = {key: value for row in found.history for key, value in row.items()}
    return {key for key, value in values.items() if isinstance(value, int | float) and not key.startswith("_")}


def logged(found: WandbRun) -> set[str]:
    """Return all keys that a run logs, with tables and images."""
    return {key for row in found.history for key in row if not key.startswith("_")}


def leaves(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the settings by their dotted key; the run file has no empty groups."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def test_each_job_has_its_wandb_run_in_its_folder(study: Path) -> None:
    folders = sorted(path for path in study.iterdir() if path.is_dir())
    assert [folder.name.rpartition("-")[0] for folder in folders] == ["loss=sec", "loss=seed"]
    for folder in folders:
        (run,) = folder.glob("wandb/offline-run-*")
        assert (folder / "wandb" / "latest-run").resolve() == run
        assert run.name.endswith((folder / "wandb_id.txt").read_text().strip())
    assert not (study.parent.parent / "wandb").exists()


def test_runs_have_the_study_as_group_and_their_settings_as_name_and_tag(runs: dict[str, WandbRun]) -> None:
    assert set(runs) == {"loss=seed", "loss=sec"}
    assert len({found.run.run_id for found in runs.values()}) == 2
    for name, found in runs.items():
        assert (found.run.run_group, list(found.run.tags)) == ("study", [name])
        assert (found.run.project, found.run.job_type, found.exit_code) == ("secseg", "train", 0)


def test_the_config_is_the_resolved_one_of_the_run_folder(study: Path, runs: dict[str, WandbRun]) -> None:
    for name, found in runs.items():
        (folder,) = study.glob(f"{name}-*")
        stored = yaml.safe_load((folder / "config.yaml").read_text())
        assert leaves({key: value for key, value in found.config.items() if key != "_wandb"}) == leaves(stored)
        assert "${" not in json.dumps(found.config)
    assert [runs[name].config["loss"]["expand"] > 0 for name in ("loss=seed", "loss=sec")] == [False, True]


def test_the_history_has_the_terms_and_scores_under_the_documented_keys(runs: dict[str, WandbRun]) -> None:
    common = {"trainer/global_step", "epoch", "train/loss", "train/seed", "train/images_per_second"}
    common |= {"val/miou", "val/miou_crf", *(f"val/iou/{name}" for name in CLASSES)}
    assert scalars(runs["loss=seed"]) == common
    assert scalars(runs["loss=sec"]) == common | {"train/expand", "train/constrain", "train/crf_share"}
    loss, *terms = (series(runs["loss=sec"], f"train/{term}") for term in ("loss", "seed", "expand", "constrain"))
    assert loss == pytest.approx([sum(parts) for parts in zip(*terms, strict=True)])
    assert len(loss) == 2


def test_the_documentation_lists_exactly_the_logged_keys(runs: dict[str, WandbRun]) -> None:
    text = (REPOSITORY / "docs" / "wandb.md").read_text("utf-8")
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    listed = {key for cell in cells for key in re.findall(r"`([^`]+)`", cell)} - {"train/supervised"}  # another loss
    assert {re.sub("^val/iou/.+", "val/iou/<class>", key) for key in logged(runs["loss=sec"])} == listed | AXES


def test_the_summary_has_the_best_and_the_last_score(runs: dict[str, WandbRun]) -> None:
    for found in runs.values():
        assert len(series(found, "val/miou")) == 2
        assert len(series(found, "val/miou_crf")) == 1, "the CRF runs after the last step alone"
        for key in ("val/miou", "val/miou_crf"):
            scores = series(found, key)
            assert found.summary[key] == {"max": max(scores), "last": scores[-1]}
        assert found.summary["train/loss"] == series(found, "train/loss")[-1]


def test_the_tables_have_every_class_without_and_with_crf(study: Path, runs: dict[str, WandbRun]) -> None:
    for name, found in runs.items():
        (files,) = study.glob(f"{name}-*/wandb/offline-run-*/files")
        ious = json.loads((files / found.summary["tables/iou"]["path"]).read_text())
        assert ious["columns"] == ["class", "IoU", "IoU with CRF"]
        assert [row[0] for row in ious["data"]] == CLASSES
        assert ious["data"][0][1] == pytest.approx(found.summary["val/iou/background"])
        confusion = json.loads((files / found.summary["tables/confusion"]["path"]).read_text())
        assert confusion["columns"] == ["truth", "prediction", "share", "share with CRF"]
        assert {row[1] for row in confusion["data"]} == set(CLASSES)


def test_each_picture_has_its_masks_as_overlays_with_class_names(study: Path, runs: dict[str, WandbRun]) -> None:
    for name, found in runs.items():
        (files,) = study.glob(f"{name}-*/wandb/offline-run-*/files")
        pictures = found.summary["pictures/val"]
        assert [caption.partition("_")[0] for caption in pictures["captions"]] == ["train", "val"]
        seen = [set(masks) for masks in pictures["all_masks"]]
        predictions = {"ground truth", "prediction", "prediction with CRF"}
        assert seen == [predictions | {"cues"}, predictions], "validation images have no cues"
        for picture, masks in zip(pictures["filenames"], pictures["all_masks"], strict=True):
            with Image.open(files / picture) as photo:
                for mask in masks.values():
                    with Image.open(files / mask["path"]) as overlay:
                        assert overlay.size == photo.size
        for labels in found.config["_wandb"]["mask/class_labels"].values():
            assert list(labels["value"].values()) == [*CLASSES, "none"]


def shown(panel: dict[str, Any]) -> set[str]:
    """Return the keys, or patterns of keys, that a panel of a W&B view shows."""
    config = panel["config"]
    if panel["viewType"] == "Weave":  # a table from the summary
        return {config["panel2Config"]["exp"]["fromOp"]["inputs"]["key"]["val"]}
    return {*config.get("metrics", ()), *config.get("mediaKeys", ()), *filter(None, [config.get("metricRegex")])}


def test_the_dashboard_shows_exactly_the_logged_keys(runs: dict[str, WandbRun]) -> None:
    section = json.loads(build_dashboard("secseg", "me", [], ["size"])._to_model().spec.model_dump_json(by_alias=True))[
        "section"
    ]
    panels = [panel for each in section["panelBankConfig"]["sections"] for panel in each["panels"]]
    drawn = set().union(*map(shown, panels))
    best = {f"{key}.max" for key in BEST_AND_LAST}
    assert {key for key in drawn if key.endswith(".max")} == best
    assert all("max" in runs["loss=sec"].summary[key] for key in BEST_AND_LAST)
    keys = logged(runs["loss=sec"]) - AXES
    assert {key for key in keys if not any(re.fullmatch(key_or_pattern, key) for key_or_pattern in drawn)} == set()
    others = {f"train/{term}" for term in (*TERMS, "size")} - {"train/seed", "train/expand", "train/constrain"}
    assert drawn - best - others - {"val/iou/.+"} <= keys
    assert {f"train/{term}" for term in (*TERMS, "size")} <= drawn
    assert {panel["config"].get("xAxis", STEP) for panel in panels} == {STEP}
    assert STEP in AXES
    (table,) = section["runSets"]
    assert set(table["runFeed"]["columnPinned"]) == {"run:displayName", *(f"summary:{key}" for key in best)}
