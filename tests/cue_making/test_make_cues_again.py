"""A second call of ``src/make_cues.py`` computes what is missing or changed, and keeps the rest."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from secseg.cue_making import maps
from secseg.cue_making.maps import class_maps
from secseg.cue_making.training import ClassificationModule
from tests.command import Outcome
from tests.cue_making.toy_cues import COUNT, Make, ran, snapshot


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
