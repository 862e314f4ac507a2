"""The commands of the README and of docs/ run, on a few drawn images and for one step."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from secseg.cli import evaluate, make_cues, predict, prepare_coco, report, train
from secseg.data import prepare_coco as prepare_coco_module
from secseg.data.classes import VOC_CLASSES, VOID, voc_palette
from secseg.data.cues import Cues, CueStore, find_cues, open_cues
from secseg.data.cues.export import export_official
from secseg.data.labels import Labels
from secseg.data.masks import save_mask
from secseg.data.prepare_coco import CocoSources, PartSource
from secseg.data.prepare_voc import Archive
from secseg.data.shapes import draw_shapes
from tests.cli.test_cli import TRAIN, run
from tests.command import run_in_process
from tests.conftest import REPOSITORY
from tests.data.coco_data import write_coco
from tests.documents import COMMANDS, PAGES
from tests.evaluation.report.synthetic import validation_masks
from tests.evaluation.report.synthetic import write_run as write_finished_run
from tests.folder_data import draw_folder, write_cues
from tests.inference.conftest import voc_layout
from tests.reference.map_files import write_clip_es, write_png, write_psa_crf
from tests.tiny_network import write_run

PREDICTION = [command for command in COMMANDS if command.startswith("python src/predict.py")]
EVALUATION = [command for command in COMMANDS if command.startswith("python src/evaluate.py")]
REPORT = [command for command in COMMANDS if command.startswith("python src/report.py")]
COCO = [command for command in COMMANDS if command.startswith("python src/prepare_coco.py")]
CUES = [command for command in COMMANDS if command.startswith("python src/make_cues.py")]
TRAINING = [command for command in COMMANDS if command.startswith("python src/train.py")]
SMALL = [
    "data.batch_size=2",
    "data.workers=0",
    "data.limit=2",
    "trainer.max_steps=1",
    "trainer.val_check_interval=1",
    "trainer.accelerator=cpu",
    "evaluation.crf=never",
    "evaluation.pictures=2",
]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("readme") / "shapes"
    draw_shapes(root, train=2, val=2, seed=0)
    return root


def test_the_pages_have_commands_of_every_kind() -> None:
    assert len(TRAINING) >= 8
    assert len(PREDICTION) >= 4
    assert len(EVALUATION) >= 3
    assert len(CUES) >= 4
    assert len(REPORT) >= 2
    assert COCO
    assert {"make demo", "python src/train.py decay.pos=0.996 trainer.devices=1"} <= set(COMMANDS)


def test_every_make_target_that_the_pages_name_is_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {target for text in PAGES.values() for target in re.findall(r"`make ([a-z-]+)`", text)}
    named |= {command.split()[1] for command in COMMANDS if command.startswith("make ")}
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_and_pictures_exist(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", PAGES[page]):
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", there.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}, anchor


def write_labels(voc: Path, labels: Labels) -> None:
    """Write the labels of images as ``cls_labels.npy``, and as VOC's annotations in ``VOC2012``."""
    (voc / "VOC2012" / "Annotations").mkdir(parents=True, exist_ok=True)
    vectors = {name: np.isin(np.arange(1, 21), numbers).astype(np.float32) for name, numbers in labels.items()}
    np.save(voc / "cls_labels.npy", np.array(vectors))
    for name, numbers in labels.items():
        objects = [f"<object><name>{VOC_CLASSES[number]}</name></object>" for number in numbers]
        text = f"<annotation>{''.join(objects)}</annotation>"
        (voc / "VOC2012" / "Annotations" / f"{name}.xml").write_text(text)


def small_version(command: str, shapes: Path, runs: Path) -> list[str]:
    """The command's own words, then what makes it small; a later override of a key wins."""
    words = [re.sub(r"^seed=0,.*", "seed=0", word) for word in shlex.split(command)[2:]]
    small = [*SMALL, f"hydra.sweep.dir={runs}/sweep"]
    if "data=folder" in words:
        root = draw_folder(runs / "path/to/my_data")  # at the very path
        write_cues(root / "cues.safetensors", {"a": (1,), "b": (1, 2), "sub/c": ()})
        return [*words, *small]
    if {"data=coco14", "experiment=coco14"} & set(words):
        parts = write_coco(runs / "data/coco", 6, 3)  # at the very path
        cues = next(word for word in words if word.startswith("data.cues="))
        labels = {scene.name("train"): scene.labels() for scene in parts["train"]}
        write_cues(runs / cues.removeprefix("data.cues="), labels)
        weights = ["backbone.trunk.weights=null"] if "experiment=coco14" in words else []
        return [*words, *small, *weights, "backbone.input_size=161"]
    small.append(f"data.root={shapes}")
    if any(word.startswith(("experiment=paper", "experiment=voc")) for word in words):
        small += ["data.train_split=train", "backbone.trunk.weights=null", "backbone.input_size=161"]
    else:
        small += ["data.draw_train=2", "data.draw_val=2"]
    if any(word.startswith("backbone=") for word in words):
        small += ["backbone.trunk.weights=null", "backbone.input_size=112"]  # patches of 14 and of 16 fit
    if any(word.startswith("experiment=ablation") for word in words):
        small.append("random_seeds=[0]")
    if "trainer=ddp" in words:
        small.append("trainer.devices=2")
    if any("predicted_masks" in word for word in words):
        small.append(f"data.masks={shapes}/SegmentationClassAug")
    return [*words, *small]


@pytest.mark.parametrize("command", TRAINING)
def test_the_training_runs(
    command: str, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = small_version(command, shapes, tmp_path)
    if "data.labels=" in command:
        cues = open_cues(find_cues(shapes))
        write_labels(tmp_path / "data/voc", {name: cues[name].labels for name in cues})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    if {"hydra/launcher=joblib", "trainer=ddp"} & set(words):  # they start processes from the command's own file
        result = run(TRAIN, tmp_path, *words)
        code, said, error = result.returncode, result.stdout, result.stderr
    else:
        outcome = run_in_process(train.main, words, tmp_path / "run", monkeypatch, capsys)
        code, said, error = outcome.code, outcome.output, outcome.error
    assert code == 0, said[-3000:] + error[-3000:]
    if "hydra/launcher=joblib" not in words:  # its jobs print from other processes
        assert said.strip().splitlines()[-1].startswith("run: ")
    assert list(tmp_path.rglob("results.json"))


@pytest.mark.parametrize("command", PREDICTION)
def test_the_prediction_runs(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the very paths of the pages, and without CRF."""
    ids = ("2008_000001", "2008_000002")
    write_run(tmp_path / "runs" / "sec" / "2026-01-31_12-00-00")
    for name in ids:
        for folder in ("path/to/photos", "data/voc/VOC2012/JPEGImages"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (30, 20), (200, 100, 50)).save(tmp_path / folder / f"{name}.jpg")
    for split in ("train_aug", "test"):
        (tmp_path / "data" / "voc" / f"{split}.txt").write_text("\n".join(ids))
    no_cues = np.full((3, 3), VOID, np.uint8)
    CueStore.from_dict({name: Cues((8,), no_cues) for name in ids}, {}).save(tmp_path / "data/voc/cues.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [*shlex.split(command)[1:], "crf.test.backend=none", "hydra.run.dir=run"])
    predict.main()
    assert capsys.readouterr().out.splitlines()[-1] == f"run: {tmp_path / 'run'}"
    assert (tmp_path / "run" / "results.json").is_file()
    assert (tmp_path / "run" / "results.tar").is_file() == ("server=true" in command)
    assert len(list(tmp_path.rglob("2008_*.png"))) == len(ids)


@pytest.mark.parametrize("command", REPORT)
def test_the_report_runs(
    command: str,
    shapes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    truths = validation_masks(shapes)
    for loss in ("seed", "sec"):
        words = (f"data.root={shapes}", "data.draw_train=2", "data.draw_val=2", f"loss={loss}")
        write_finished_run(tmp_path / "runs" / "ablation_loss" / loss, words, truths)
    write_finished_run(tmp_path / "runs" / "demo" / "supervised", (*words[:3], "loss=supervised"), truths)
    monkeypatch.chdir(tmp_path)
    words = [*shlex.split(command)[2:], f"out={tmp_path}/out"]
    outcome = run_in_process(report.main, words, tmp_path / "run", monkeypatch, capsys)
    assert outcome.code == 0, outcome.error
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.parametrize("command", EVALUATION)
def test_the_evaluation_runs(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the very paths of the pages, and without CRF."""
    root = tmp_path / "data" / "voc" / "VOC2012"
    file = write_run(tmp_path / "runs" / "sec" / "2026-01-31_12-00-00") / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(file)
    checkpoint["secseg"]["config"]["data"] = {"_target_": "secseg.data.voc_module.VOCDataModule", "root": str(root)}
    torch.save(checkpoint, file)
    for folder in ("JPEGImages", "SegmentationClassAug"):
        (root / folder).mkdir(parents=True)
    (root / "val.txt").write_text("2008_000001")
    Image.new("RGB", (30, 20), (200, 100, 50)).save(root / "JPEGImages" / "2008_000001.jpg")
    mask = np.arange(20, dtype=np.uint8)[:, None].repeat(30, axis=1)
    for masks in (root / "SegmentationClassAug", tmp_path / "path/to/predicted_masks"):
        save_mask(mask, masks / "2008_000001.png", voc_palette())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [*shlex.split(command)[1:], "crf.test.backend=none", "hydra.run.dir=run"])
    evaluate.main()
    assert capsys.readouterr().out.splitlines()[-1] == f"run: {tmp_path / 'run'}"
    figures = json.loads((tmp_path / "run" / "results.json").read_text())["figures"]
    assert (figures["without_crf"]["miou"] == 1) == ("masks=" in command)


@pytest.mark.parametrize("command", COCO)
def test_the_preparation_of_coco_runs(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the very paths of the pages, and without a download."""
    if not os.environ.get("CI"):
        pytest.importorskip("pycocotools")
    write_coco(tmp_path / "data/coco", 6, 3, numbering=None)
    parts = {part: PartSource(Archive("", "", "", ""), count, count) for part, count in (("train", 6), ("val", 3))}
    sources = CocoSources(Archive("", "", "", ""), parts)
    monkeypatch.setattr(prepare_coco_module, "official_sources", lambda: sources)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [*shlex.split(command)[1:], "hydra.run.dir=run"])
    prepare_coco.main()
    assert capsys.readouterr().out.splitlines()[-1] == f"run: {tmp_path / 'run'}"
    assert len(list((tmp_path / "data/coco/masks_last").rglob("*.png"))) == 9


@pytest.mark.parametrize("command", CUES)
def test_the_making_of_cues_runs(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the very paths of the pages; small networks and one step."""
    voc = voc_layout(tmp_path / "data/voc/VOC2012", ("2008_000001", "2008_000002"))
    (voc / "train_aug.txt").write_text("2008_000001\n2008_000002")
    for number, name in enumerate(("2008_000001", "2008_000002")):
        with Image.open(voc / "JPEGImages" / f"{name}.jpg") as photo:
            mask = np.full(photo.size[::-1], 8 * number, np.uint8)
        save_mask(mask, voc / "SegmentationClassAug" / f"{name}.png", voc_palette())
        maps = np.linspace(0, 1, mask.size, dtype=np.float32).reshape(1, *mask.shape)
        write_clip_es(tmp_path / "path/to/cams" / f"{name}.npy", [7], maps)
        write_png(tmp_path / "path/to/ir_label" / f"{name}.png", mask)
        for alpha in (4, 32):
            write_psa_crf(tmp_path / f"path/to/crf_{alpha}" / f"{name}.npy", [7], maps, alpha)
    cues = {name: Cues((8,), np.full((41, 41), 8, np.uint8)) for name in ("2008_000001", "2008_000002")}
    export_official(CueStore.from_dict(cues, {}), tmp_path / "data/voc/localization_cues.pickle.gz")
    CueStore.from_dict(cues, {}).save(tmp_path / "data/voc/cues.safetensors")
    write_labels(tmp_path / "data/voc", {"2008_000001": (8,), "2008_000002": (8, 15)})
    draw_folder(tmp_path / "path/to/my_data")
    if "data=coco14" in command:
        write_coco(tmp_path / "data/coco", 6, 3)
    words = shlex.split(command)[1:]
    small = ["device=cpu", "hydra.run.dir=run", *([] if "~data" in words else ["data.workers=0"])]
    for name in ("foreground", "background"):
        side = 112 if "localization=timm" in words else 65
        small += [f"localization.{name}.{word}" for word in (f"network.input_size={side}", "steps=1", "batch_size=1")]
        if {"localization=paper", "localization=timm"} & set(words):
            small.append(f"localization.{name}.network.trunk.weights=null")
        if "localization=paper" in words:
            small.append(f"localization.{name}.network.head.width=8")
    small += ["localization.background.network.head.size=3"] if "localization=paper" in words else []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [*words, *small])
    make_cues.main()
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == f"run: {tmp_path / 'run'}"
    figures = json.loads((tmp_path / "run" / "results.json").read_text())["figures"]
    if "stage=export" in words:
        assert len(list(Path(figures["export"]["folder"]).iterdir())) == 2
    else:
        assert figures["audit"]["images"] > 0
    recipe = "experiment=own_images" if "data=folder" in words else "data"
    assert said[-2].startswith(f"Train on them with: python src/train.py {recipe}") == ("stage=" not in command)
