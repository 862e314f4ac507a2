"""``src/make_cues.py``: labels in, cues out, in stages; on toy images, with a tiny network and a few steps."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from secseg.cli.make_cues import main
from secseg.cue_making import map_files
from secseg.cue_making.classifier_file import load_localization
from secseg.cue_making.cues import background_cue, foreground_cues, join_cues
from secseg.cue_making.maps import class_maps, saliency_map
from secseg.cue_making.module import ClassificationModule
from secseg.data.classes import voc_palette
from secseg.data.cues.cue_files import CueStore, find_cues, import_official, open_cues
from secseg.data.folder_module import FolderDataModule
from secseg.data.images import read_image, save_mask
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
Make = Callable[..., Outcome]


def toy_folder(root: Path) -> Path:
    """Toy images with a table; two of them, in the training split, have a mask."""
    images, labels = draw(root / "images", COUNT)
    lines = [f"{name},{' '.join(CLASSES[number] for number in labels[name])}" for name in images.names]
    (root / "labels.csv").write_text("\n".join(["image,labels", *lines]))
    for name in ("image01", "image07"):
        save_mask(np.ones((66, 66), np.uint8), root / "masks" / f"{name}.png", voc_palette())
    return root


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A folder with all stages of the official way done, in its own root, and what the command said."""
    root = toy_folder(tmp_path_factory.mktemp("make_cues") / "toys")
    said, error = io.StringIO(), io.StringIO()
    captured: Any = SimpleNamespace(readouterr=lambda: SimpleNamespace(out=said.getvalue(), err=error.getvalue()))
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(error):
        outcome = run(root, root, patch, captured, "cues=official")
    assert outcome.code == 0, outcome.error
    return root, outcome


def run(root: Path, out: Path, patch: pytest.MonkeyPatch, capsys: Any, *words: str) -> Outcome:
    folder = root.parent / f"run{len(list(root.parent.glob('run*')))}"
    patch.chdir(root.parent)
    patch.delenv("HYDRA_FULL_ERROR", raising=False)
    data = ["data=folder", f"data.root={root}", "data.train_split=all", f"out={out}"]
    return run_in_process(main, [*data, *SETTINGS, *words], folder, patch, capsys)


@pytest.fixture
def root(finished: tuple[Path, Outcome], tmp_path: Path) -> Path:
    """A copy of the finished folder."""
    return shutil.copytree(finished[0], tmp_path / "toys")


@pytest.fixture
def make(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Make:
    def call(*words: str, out: Path = root) -> Outcome:
        return run(root, out, monkeypatch, capsys, *words)

    return call


def ran(outcome: Outcome) -> list[str]:
    assert outcome.code == 0, outcome.said + outcome.error
    assert outcome.results is not None
    return outcome.results["ran"]


def test_labels_go_in_and_cues_that_training_takes_come_out(finished: tuple[Path, Outcome]) -> None:
    root, outcome = finished
    assert find_cues(root) == root / "cues.safetensors", "with out=<data.root> training finds them by itself"
    data = FolderDataModule(str(root), train_split="all", val_split="all")
    data.open(cues=True, masks=False)
    store = data.cues
    assert store is not None
    assert store.grid == (9, 9)
    assert {name: store[name].labels for name in store} == data.image_labels()
    assert not store["image00"].map.any(), "an image without labels is background everywhere"
    lines = outcome.said.strip().splitlines()
    assert lines[-1].startswith("run: ")
    assert lines[-2].startswith(f"Train on them with: python src/train.py data=folder data.root={root} ")
    assert lines[-2].endswith(f"data.cues={root / 'cues.safetensors'}")
    assert "foreground network: mean average precision" in outcome.said


def test_each_cue_map_is_that_of_the_networks_maps(finished: tuple[Path, Outcome]) -> None:
    root, _ = finished
    networks = [load_localization(root / name / "network.safetensors") for name in ("foreground", "background")]
    store = CueStore.load(root / "cues.safetensors")
    for name in ("image03", "image07"):
        photo = read_image(root / "images" / f"{name}.png")
        maps = class_maps(networks[0], photo, grid=(9, 9)).numpy().astype(np.float16)
        saliency = saliency_map(networks[1], photo, grid=(9, 9)).numpy().astype(np.float16)
        background = background_cue(saliency)
        assert background.any()
        expected = join_cues(foreground_cues(maps, store[name].labels), background)
        assert np.array_equal(store[name].map, expected)


def test_results_state_figures_protocol_and_versions(finished: tuple[Path, Outcome]) -> None:
    root, outcome = finished
    results = outcome.results
    assert results is not None
    assert results["ran"] == ["foreground", "background", "maps", "cues", "audit"]
    figures, protocol = results["figures"], results["protocol"]
    assert 0 <= figures["foreground"]["map"] <= 1
    assert figures["audit"]["images"] == COUNT
    assert figures["audit"]["masks"]["images"] == 2
    assert protocol["labels"] == "labels.csv"
    assert protocol["settings"]["cues"]["threshold"] == 0.2
    assert protocol["crf"] is None
    assert set(results["time"]) == set(results["ran"])
    assert "torch" in results["versions"]["packages"]
    provenance = CueStore.load(root / "cues.safetensors").provenance
    assert provenance["networks"] == {name: protocol["stages"][name]["output"] for name in ("foreground", "background")}
    assert (provenance["labels"], provenance["localization"]) == ("labels.csv", "timm")


def test_a_second_call_computes_nothing_and_says_the_same(make: Make, finished: tuple[Path, Outcome]) -> None:
    outcome = make("cues=official")
    assert ran(outcome) == []
    assert outcome.results is not None
    assert finished[1].results is not None
    assert outcome.results["figures"] == finished[1].results["figures"]


def test_another_setting_an_image_or_a_label_run_what_hangs_on_them(make: Make, root: Path) -> None:
    outcome = make("cues=official", "cues.threshold=0.3")
    assert ran(outcome) == ["cues", "audit"]
    assert "cues: runs (settings.threshold: 0.2 -> 0.3)" in outcome.said
    Image.new("RGB", (66, 66), (9, 9, 9)).save(root / "images" / "image05.png")
    outcome = make("cues=official", "cues.threshold=0.3", "stage=foreground")
    assert ran(outcome) == ["foreground"]
    assert "foreground: runs (images: 1 changed (image05))" in outcome.said
    table = root / "labels.csv"
    table.write_text(table.read_text().replace("image04,blue", "image04,red"))
    outcome = make("cues=official", "cues.threshold=0.3", "stage=maps")
    assert outcome.code == 1
    assert "stage=maps needs what the stage foreground makes" in outcome.error
    assert "labels: 1 changed (image04). Run stage=foreground first" in outcome.error


def test_maps_that_were_broken_off_go_on_image_by_image(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def stopped(*arguments: Any, **options: Any) -> Any:
        seen.append(arguments)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return class_maps(*arguments, **options)

    monkeypatch.setattr(map_files, "class_maps", stopped)
    words = ("cues=official", "cues.mirror=true", "workers=1")
    assert make(*words).code == 130
    kept = {path: path.stat().st_mtime_ns for path in (root / "maps").glob("*.safetensors")}
    assert 4 <= len(kept) < COUNT
    assert not (root / "maps.json").exists()
    seen.extend([()] * 10)  # past the fifth
    assert ran(make(*words)) == ["maps", "cues", "audit"]
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    assert len(list((root / "maps").glob("*.safetensors"))) == COUNT


def test_a_training_that_was_broken_off_goes_on(
    make: Make, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, out = ClassificationModule.training_step, tmp_path / "new"
    steps = []

    def stopped(module: ClassificationModule, *arguments: Any) -> Any:
        steps.append(module.global_step)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return step(module, *arguments)

    monkeypatch.setattr(ClassificationModule, "training_step", stopped)
    assert make("cues=official", "stage=foreground", out=out).code == 130
    outcome = make("cues=official", "stage=foreground", out=out)
    assert ran(outcome) == ["foreground"]
    assert "foreground: runs (it was broken off)" in outcome.said
    assert steps == [0, 1, 2, 2], "from the step where it was"
    assert [path.name for path in sorted((out / "foreground").iterdir())] == ["network.safetensors", "started.json"]


def test_refined_cues_need_one_network_alone(make: Make, tmp_path: Path) -> None:
    out = tmp_path / "refined"
    outcome = make("cues=refined", "cues.refined_threshold=0.3", out=out)
    assert ran(outcome) == ["foreground", "maps", "cues", "audit"]
    assert outcome.results is not None
    assert outcome.results["figures"]["background"] is None
    assert outcome.results["protocol"]["crf"]["backend"] == "lattice"
    store = CueStore.load(out / "cues.safetensors")
    assert store.provenance["crf"]["scale"] == 12
    assert store.provenance["networks"]["background"] is None


def test_a_cue_file_is_audited_without_its_images(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = root / "cues.safetensors"
    words = ["stage=audit", f"cue_file={own}", f"against={own}", "~data"]
    outcome = run_in_process(main, words, tmp_path / "alone", monkeypatch, capsys)
    assert outcome.code == 0, outcome.error
    assert outcome.results is not None
    figures = outcome.results["figures"]["audit"]
    assert figures["images"] == COUNT
    assert set(figures["classes"]) == set(CLASSES), "as the file names them"
    assert figures["against"]["identical"] == COUNT
    refused = run_in_process(main, ["~data"], tmp_path / "all", monkeypatch, capsys)
    assert "data has no option chosen" in refused.error


def test_cues_are_exported_and_any_file_is_audited(make: Make, root: Path) -> None:
    outcome = make("cues=official", "export=official", "stage=export")
    assert ran(outcome) == ["export"]
    assert "brought to 41 x 41" in outcome.said
    exported = root / "export" / "localization_cues.pickle.gz"
    assert len(import_official(exported, root / "export" / "input_list.txt")) == COUNT
    assert ran(make("cues=official", "export=png")) == ["export"]
    assert len(open_cues(root / "export")) == COUNT
    own = root / "cues.safetensors"
    outcome = make("stage=audit", f"cue_file={own}", f"against={own}")
    assert ran(outcome) == ["audit"]
    assert outcome.results is not None
    assert outcome.results["figures"]["audit"]["against"]["identical"] == COUNT
    assert "Train on them" not in outcome.said


def test_cues_of_someone_else_are_not_written_over(make: Make, root: Path) -> None:
    (root / "cues.json").unlink()
    shutil.rmtree(root / "cues")
    outcome = make("cues=official", "localization.foreground.steps=4")
    assert outcome.code == 1
    assert "cues.safetensors was not written by the stage cues" in outcome.error
    assert (root / "foreground.json").is_file(), "told before anything is run"


def test_a_work_folder_among_the_images_is_refused(make: Make, root: Path) -> None:
    outcome = make("cues=official", out=root / "images")
    assert outcome.code == 1
    assert "lies among the images" in outcome.error


def test_settings_that_cannot_be_are_all_told_before_anything_is_computed(make: Make, root: Path) -> None:
    words = ("stage=map", "export=npz", "cues.share=1", "cues.scales=[20]", "cues.grid=1", "workers=0", "against=none")
    outcome = make(*words, "crf=off", "localization.foreground.steps=0", "precision=64", out=root / "new")
    assert outcome.code == 1
    for text in (
        *("stage=map: give one of", "Did you mean 'maps'", "export=npz: give one of official, png", "cues.share=1"),
        *("cues.scales=[20]", "cues.grid=1", "workers=0", "against=none: there is no such file"),
        *("localization.foreground.steps=0", "precision=64"),
    ):
        assert text in outcome.error, text
    assert not (root / "new").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stage=export"], "give export=<official or png>"),
        (["stage=background", "cues=refined"], "needs no background network"),
        (["cue_file=x.safetensors"], "cue_file is for stage=audit and stage=export alone"),
        (["crf=off", "cues=refined"], "cues.refine=true needs a CRF"),
        (["stage=audit", "cue_file=nowhere.safetensors"], "There is no cue file at nowhere.safetensors"),
        (
            ["localization.foreground.network.head._target_=secseg.cue_making.heads.FullyConnectedHead"],
            "a FullyConnectedHead has no class activation maps",
        ),
        (["device=cuda:9"], "device=cuda:9: this machine has"),
        (["localization.background.balance=even"], "balance=even: give one of none, inverse"),
        (
            ["localization.background.network.trunk.model=null", "out=new"],
            "localization.background.network.trunk.model",
        ),
    ],
)
def test_what_does_not_go_together_is_told_in_one_message(make: Make, words: list[str], said: str) -> None:
    outcome = make(*(["cues=official"] if "cues=refined" not in words else []), *words)
    assert outcome.code == 1
    assert said in outcome.error
    assert "Traceback" not in outcome.error
