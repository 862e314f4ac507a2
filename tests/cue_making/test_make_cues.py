"""``src/make_cues.py``: labels in, cues out; on toy images, with a tiny network and a few steps."""

from __future__ import annotations

import re
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch

from secseg.cue_making import maps
from secseg.cue_making.classifier import load_localization
from secseg.cue_making.maps import MapSettings, class_maps, saliency_map
from secseg.cue_making.recipes import CueInputs
from secseg.cue_making.recipes.base import background_cue, foreground_cues, join_cues
from secseg.cue_making.recipes.random_walk import RandomWalkCues
from secseg.data.cues import CueStore, find_cues
from secseg.data.folder_module import FolderDataModule
from secseg.data.images import read_image
from secseg.data.transforms import evaluation_input, training_input
from secseg.utils.resizing import resize_aligned
from tests.command import Outcome
from tests.cue_making.toy_cues import COUNT, Make, ran


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


def test_two_networks_with_the_same_settings_are_trained_once(make: Make, tmp_path: Path) -> None:
    outcome = make("cues=official", "localization.background.steps=3", out=tmp_path / "same")
    assert ran(outcome) == ["foreground", "maps", "cues", "audit"]
    assert outcome.results is not None
    assert outcome.results["figures"]["background"] == outcome.results["figures"]["foreground"]


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
