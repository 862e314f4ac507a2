"""``src/make_cues.py``: labels in, cues out; on toy images, with a tiny network and a few steps."""

from __future__ import annotations

import io
import re
import shutil
from collections import namedtuple
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from secseg.cli.make_cues import main
from secseg.cue_making import maps
from secseg.cue_making.classifier import load_localization
from secseg.cue_making.maps import MapSettings, class_maps, saliency_map
from secseg.cue_making.recipes import CueInputs
from secseg.cue_making.recipes.base import background_cue, foreground_cues, join_cues
from secseg.cue_making.recipes.random_walk import RandomWalkCues
from secseg.cue_making.training import ClassificationModule
from secseg.data.classes import voc_palette
from secseg.data.cues import CueStore, find_cues, import_official, open_cues
from secseg.data.folder_module import FolderDataModule
from secseg.data.images import read_image
from secseg.data.masks import save_mask
from secseg.data.transforms import evaluation_input, training_input
from secseg.utils.resizing import resize_aligned
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


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A folder in which the official recipe has run, with ``out=<data.root>``, and the output of the command."""
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


def snapshot(root: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of change of each file of networks, maps and cues."""
    files = [path for name in ("networks", "maps", "cues") for path in (root / name).rglob("*") if path.is_file()]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in [*files, root / "cues.safetensors"]}


def ran(outcome: Outcome) -> list[str]:
    assert outcome.code == 0, outcome.output + outcome.error
    assert outcome.results is not None
    return outcome.results["ran"]


def test_the_command_makes_cues_from_labels_that_training_can_use(finished: tuple[Path, Outcome]) -> None:
    root, outcome = finished
    assert find_cues(root) == root / "cues.safetensors", "with out=<data.root> training finds them by itself"
    data = FolderDataModule(str(root), train_split="all", val_split="all")
    data.open(cues=True, masks=False)
    store = data.cues
    assert store is not None
    assert store.grid == (9, 9)
    assert {name: store[name].labels for name in store} == data.image_labels()
    assert not store["image00"].map.any(), "an image without labels is background everywhere"
    lines = outcome.output.strip().splitlines()
    assert lines[-1].startswith("run: ")
    assert lines[-2].startswith(f"Train on them with: python src/train.py experiment=own_images data.root={root} ")
    assert "data.cues=" not in lines[-2], "training finds them"
    assert "foreground network: mean average precision" in outcome.output


def test_each_cue_map_is_that_of_the_networks_maps(finished: tuple[Path, Outcome]) -> None:
    root, outcome = finished
    assert outcome.results is not None
    prints = outcome.results["protocol"]["fingerprints"]
    networks = [
        load_localization(root / "networks" / prints[name] / "network.safetensors")
        for name in ("foreground", "background")
    ]
    store = CueStore.load(root / "cues.safetensors")
    settings = MapSettings(grid=(9, 9))
    for name in ("image03", "image07"):
        image = read_image(root / "images" / f"{name}.png")
        maps = class_maps(networks[0], image, settings).numpy().astype(np.float16)
        saliency = saliency_map(networks[1], image, settings).numpy().astype(np.float16)
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
    own = figures["audit"]["warnings"]
    assert results["warnings"][len(results["warnings"]) - len(own) :] == own
    assert all(text in outcome.output for text in results["warnings"])
    assert protocol["labels"] == "labels.csv"
    assert protocol["settings"]["cues"]["threshold"] == 0.2
    assert protocol["crf"] is None
    assert set(results["time"]) == set(results["ran"])
    assert "torch" in results["versions"]["packages"]
    provenance = CueStore.load(root / "cues.safetensors").provenance
    assert provenance["networks"] == {name: protocol["fingerprints"][name] for name in ("foreground", "background")}
    assert (provenance["labels"], provenance["localization"]) == ("labels.csv", "timm")


def test_a_second_call_computes_nothing_but_the_audit_and_has_the_same_figures(
    make: Make, root: Path, finished: tuple[Path, Outcome]
) -> None:
    before = snapshot(root)
    outcome = make("cues=official")
    assert ran(outcome) == ["audit"]
    for line in ("foreground network: reused", "background network: reused", "maps: reused", "cues: reused"):
        assert line in outcome.output
    assert snapshot(root) == before
    assert outcome.results is not None
    assert finished[1].results is not None
    assert outcome.results["figures"] == finished[1].results["figures"]


def test_another_setting_image_or_label_computes_what_depends_on_it_and_keeps_the_rest(make: Make, root: Path) -> None:
    first = (root / "cues.safetensors").read_bytes()
    outcome = make("cues=official", "cues.threshold=0.7")
    assert ran(outcome) == ["cues", "audit"]
    assert (root / "cues.safetensors").read_bytes() != first
    assert re.search(r"1 networks, maps and cues of other settings take \d\S+ kB in", outcome.output)
    assert ran(make("cues=official")) == ["audit"], "with the earlier settings again"
    assert (root / "cues.safetensors").read_bytes() == first
    assert ran(make("cues=official", "cues.mirror=true")) == ["maps", "cues", "audit"]
    Image.new("RGB", (66, 66), (9, 9, 9)).save(root / "images" / "image05.png")
    table = root / "labels.csv"
    table.write_text(table.read_text().replace("image04,blue", "image04,red"))
    everything = ["foreground", "background", "maps", "cues", "audit"]
    assert ran(make("cues=official", "cues.mirror=true")) == everything
    assert len([*(root / "networks").iterdir()]) == 4


def test_two_networks_with_the_same_settings_are_trained_once(make: Make, tmp_path: Path) -> None:
    outcome = make("cues=official", "localization.background.steps=3", out=tmp_path / "same")
    assert ran(outcome) == ["foreground", "maps", "cues", "audit"]
    assert outcome.results is not None
    assert outcome.results["figures"]["background"] == outcome.results["figures"]["foreground"]


def test_interrupted_maps_resume_image_by_image(make: Make, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def stopped(*arguments: Any, **options: Any) -> Any:
        seen.append(arguments)
        if len(seen) == 2 + 5:  # two passes measure the time
            raise KeyboardInterrupt
        return class_maps(*arguments, **options)

    (finished,) = (root / "maps").iterdir()
    monkeypatch.setattr(maps, "class_maps", stopped)
    words = ("cues=official", "cues.mirror=true", "workers=1")
    assert make(*words).code == 130
    (folder,) = {*(root / "maps").iterdir()} - {finished}
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}
    assert 4 <= len(kept) < COUNT
    seen.extend([()] * 10)  # past the fifth
    outcome = make(*words)
    assert ran(outcome) == ["maps", "cues", "audit"]
    assert f"maps: {COUNT - len(kept)} of {COUNT} are computed" in outcome.output
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    assert len(list(folder.glob("*.safetensors"))) == COUNT


def test_an_interrupted_training_resumes(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step, out = ClassificationModule.training_step, tmp_path / "new"
    steps = []

    def stopped(module: ClassificationModule, *arguments: Any) -> Any:
        steps.append(module.global_step)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return step(module, *arguments)

    monkeypatch.setattr(ClassificationModule, "training_step", stopped)
    words = ("cues=official", "cues.background=maps")
    stopped_at = make(*words, out=out)
    assert stopped_at.code == 130
    assert "Stopped after step 2. The same command continues." in stopped_at.output
    outcome = make(*words, out=out)
    assert ran(outcome) == ["foreground", "maps", "cues", "audit"]
    assert "foreground network: training resumes" in outcome.output
    assert steps == [0, 1, 2, 2], "from the step that was interrupted"
    (folder,) = (out / "networks").iterdir()
    assert [path.name for path in sorted(folder.iterdir())] == ["network.json", "network.safetensors"]


def test_time_and_space_are_reported_before_a_network_is_trained(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("cues=official", "cues.background=maps")
    lines = make(*words, out=tmp_path / "new").output.splitlines()
    plan = rf"The maps of {COUNT} images take about 0:00:\d\d and \d\S+ kB in {tmp_path}/new/maps/.* of free space\)\."
    at = next(number for number, line in enumerate(lines) if re.fullmatch(plan, line))
    assert "foreground network: is trained" in lines[at + 1]
    assert "The maps of" not in make(*words, out=tmp_path / "new").output, "they are there"
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("secseg.utils.files.shutil.disk_usage", lambda _: usage(10_000, 8_000, 2_000))
    refused = make(*words, out=tmp_path / "full")
    assert refused.code == 1
    start = rf"The maps of {COUNT} images take \d\S+ kB in {tmp_path}/full/maps/\w+, which has 2\.00 kB of free space\."
    assert re.match(start, refused.error)
    assert "Choose another folder with out=, or free some space." in refused.error
    assert not (tmp_path / "full" / "networks").exists()


def test_damaged_files_are_made_again_or_reported(make: Make, root: Path) -> None:
    first = (root / "cues.safetensors").read_bytes()
    (cues,) = (root / "cues").iterdir()
    cues.write_bytes(first[:-1])
    (root / "cues.safetensors").unlink()
    assert ran(make("cues=official")) == ["cues", "audit"]
    assert (root / "cues.safetensors").read_bytes() == first
    (network, _) = (root / "networks").iterdir()
    (network / "network.json").write_text("{")
    (root / "cues.safetensors").unlink()
    assert {"audit"} < set(ran(make("cues=official"))) <= {"foreground", "background", "audit"}
    assert (root / "cues.safetensors").read_bytes() == first
    (folder,) = (root / "maps").iterdir()
    (folder / "image03.safetensors").write_bytes(b"damaged")
    outcome = make("cues=official", "cues.threshold=0.5")
    assert "Delete the file and run the command again" in outcome.error
    (folder / "image03.safetensors").unlink()
    assert ran(make("cues=official", "cues.threshold=0.5")) == ["maps", "cues", "audit"]


def test_a_partial_file_of_a_killed_run_is_removed_from_the_run_folder(make: Make, root: Path, tmp_path: Path) -> None:
    for folder in (tmp_path / "again", root):  # the run folder may be the output folder
        folder.mkdir(exist_ok=True)
        (folder / ".config.abcdefgh.yaml").write_text("half")
        assert make("cues=official", f"run_dir={folder}").code == 0
        assert (folder / "results.json").is_file()
        assert not (folder / ".config.abcdefgh.yaml").exists()


def test_refined_cues_need_only_one_network(make: Make, tmp_path: Path) -> None:
    out = tmp_path / "refined"
    outcome = make("cues=refined", "cues.threshold=0.3", out=out)
    assert ran(outcome) == ["foreground", "maps", "cues", "audit"]
    assert outcome.results is not None
    assert outcome.results["figures"]["background"] is None
    assert outcome.results["protocol"]["crf"]["backend"] == "lattice"
    store = CueStore.load(out / "cues.safetensors")
    assert store.provenance["crf"]["scale"] == 12
    assert store.provenance["networks"]["background"] is None


@pytest.mark.parametrize("cached", [False, True])
def test_a_random_walk_uses_the_features_of_the_trunk_at_the_grid(make: Make, tmp_path: Path, cached: bool) -> None:
    words = ["cues=random_walk", "cues.affinity=features", "cues.grid=5", "cues.beta=1"]
    if cached:
        words += ["localization.foreground.network.freeze=true", f"data.feature_cache={tmp_path / 'features'}"]
    outcome = make(*words, out=tmp_path / "out")
    assert ran(outcome) == ["foreground", "maps", "cues", "audit"]
    assert outcome.results is not None
    prints = outcome.results["protocol"]["fingerprints"]
    network = load_localization(tmp_path / "out" / "networks" / prints["foreground"] / "network.safetensors")
    store, name = CueStore.load(tmp_path / "out" / "cues.safetensors"), "image03"
    labels = store[name].labels
    image = read_image(tmp_path / "toys" / "images" / f"{name}.png")
    resize = training_input if cached else evaluation_input
    with torch.no_grad():
        features = resize_aligned(network.joined(network.features(resize(image, 65)[None])).float(), (5, 5))[0].numpy()
    kept = maps.read_maps(tmp_path / "out" / "maps" / prints["maps"], name, labels, 3)
    inputs = CueInputs(labels, lambda: image, kept.maps, kept.scores, kept.highest, read_features=lambda: features)
    assert np.mean(store[name].map == RandomWalkCues("features", beta=1)(inputs)) > 0.95
    other = make(*words, "cues.affinity=colours", out=tmp_path / "out")
    assert ran(other) == ["cues", "audit"]


def test_the_running_maximum_keeps_earlier_weights_and_trains_again_if_one_is_missing(make: Make, root: Path) -> None:
    words = ["cues=official", "cues.background=maps", "localization.foreground.running_maximum=2"]
    assert ran(make(*words)) == ["foreground", "maps", "cues", "audit"]
    first = (root / "cues.safetensors").read_bytes()
    assert ran(make(*words)) == ["audit"]
    (folder,) = root.glob("networks/*/snapshots")
    assert [path.stem for path in sorted(folder.iterdir())] == ["000002", "000003"]
    (folder / "000002.safetensors").unlink()
    assert ran(make(*words)) == ["foreground", "audit"]
    assert len([*folder.iterdir()]) == 2
    assert ran(make(*words[:2])) == ["maps", "cues", "audit"], "the network without the setting is still there"
    assert (root / "cues.safetensors").read_bytes() != first


def test_a_recipe_of_a_plugin_makes_the_cues_and_its_code_is_part_of_the_fingerprint(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(root)
    code = (
        "import numpy as np\n"
        "from secseg.cue_making.recipes import CueRecipe\n"
        "class TopCues(CueRecipe):\n"
        "    def __init__(self, share): self.share = share\n"
        "    def __call__(self, inputs):\n"
        "        best = inputs.maps[inputs.labels[0] - 1]\n"
        "        return np.where(best >= np.quantile(best, 1 - self.share), inputs.labels[0], 255).astype(np.uint8)\n"
    )
    (root / "my_recipes.py").write_text(code)
    words = ("cues=base", "cues._target_=my_recipes.TopCues", "+cues.share=0.3", "plugins=[my_recipes]")
    refused = make(*words[:-1])
    assert "give plugins=[my_recipes]" in refused.error
    assert ran(make(*words)) == ["maps", "cues", "audit"]
    store = CueStore.load(root / "cues.safetensors")
    assert {*np.unique(store["image03"].map)} == {store["image03"].labels[0], 255}
    assert not store["image00"].map.any(), "an image without labels is background everywhere"
    assert ran(make(*words)) == ["audit"]
    (root / "my_recipes.py").write_text(code + "# edited\n")
    assert ran(make(*words)) == ["cues", "audit"]


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
    outcome = make("export=official", "stage=export")
    assert ran(outcome) == ["export"]
    assert "brought to 41 x 41" in outcome.output
    (official,) = (root / "export").iterdir()
    assert len(import_official(official / "localization_cues.pickle.gz", official / "input_list.txt")) == COUNT
    assert ran(make("cues=official", "export=png")) == ["audit", "export"]
    (pngs,) = (root / "export").glob("png-*")
    assert len(open_cues(pngs)) == COUNT
    edited = next(pngs.glob("*.png"))
    save_mask(np.zeros((9, 9), np.uint8), edited, voc_palette())
    content = edited.read_bytes()
    assert ran(make("export=png", "stage=export")) == ["export"]
    assert edited.read_bytes() == content, "an exported file that was edited is kept"
    own = root / "cues.safetensors"
    outcome = make("stage=audit", f"cue_file={own}", f"against={own}")
    assert ran(outcome) == ["audit"]
    assert outcome.results is not None
    assert outcome.results["figures"]["audit"]["against"]["identical"] == COUNT
    assert "Train on them" not in outcome.output
    assert ran(make("stage=audit")) == ["audit"], "of the cues in out"


@pytest.mark.parametrize("content", [b"mine", None], ids=["another file", "edited cues"])
def test_cues_of_someone_else_are_not_overwritten(make: Make, root: Path, content: bytes | None) -> None:
    path = root / "cues.safetensors"
    path.write_bytes(content or path.read_bytes() + b" ")
    before = snapshot(root)
    outcome = make("cues=official", "localization.foreground.steps=4")
    assert outcome.code == 1
    assert "cues.safetensors was not written by make_cues into this folder, or was changed since" in outcome.error
    assert snapshot(root) == before, "reported before anything is computed"


def test_a_folder_of_someone_else_is_not_written_into(make: Make, root: Path) -> None:
    shutil.rmtree(root / "audit")
    (root / "audit").mkdir()
    (root / "audit" / "images.csv").write_text("mine")
    outcome = make("cues=official")
    assert outcome.code == 1
    assert "audit holds files, but no audit of cues" in outcome.error
    assert [path.name for path in (root / "audit").iterdir()] == ["images.csv"]


def test_an_output_folder_among_the_images_is_refused(make: Make, root: Path) -> None:
    outcome = make("cues=official", out=root / "images")
    assert outcome.code == 1
    assert "lies among the images" in outcome.error


def test_all_wrong_settings_are_listed_before_anything_is_computed(make: Make, root: Path) -> None:
    words = ("stage=map", "export=npz", "cues.share=1", "cues.scales=[20]", "cues.grid=1", "workers=0", "against=none")
    outcome = make(*words, "crf=off", "localization.foreground.steps=0", "precision=64", out=root / "new")
    assert outcome.code == 1
    for text in (
        *("stage=map: give one of", "export=npz: give one of official, png", "cues.share=1"),
        *("cues.scales=[20]", "cues.grid=1", "workers=0", "against=none: the file does not exist"),
        *("localization.foreground.steps=0", "precision=64"),
    ):
        assert text in outcome.error, text
    assert not (root / "new").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["localization.background.running_maximum=2"], "running_maximum=2: only the maps of the foreground network"),
        (["stage=export"], "give export=<one of official, png, irn_cam"),
        (["cue_file=."], "cue_file is for stage=audit and stage=export"),
        (["crf=off", "cues=refined"], "This cue recipe needs a CRF"),
        (["stage=audit", "out=nothing_yet"], "The cue file nothing_yet/cues.safetensors does not exist"),
        (
            ["stage=audit", "cue_file=nowhere.safetensors"],
            "cue_file=nowhere.safetensors: there is no cue file",
        ),
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
def test_settings_that_do_not_fit_end_in_one_message(make: Make, words: list[str], said: str) -> None:
    outcome = make(*(["cues=official"] if "cues=refined" not in words else []), *words)
    assert outcome.code == 1
    assert said in outcome.error
    assert "Traceback" not in outcome.error
