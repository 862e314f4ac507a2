"""Stages run where something that they hang on changed, and only there; nothing that is finished is lost."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from secseg.cue_making.fingerprints import differences, digest
from secseg.cue_making.stages import Stage, WorkFolder
from secseg.utils.errors import UserError


class Kitchen:
    """Two stages: ``dough`` in a folder, from flour and images; ``bread``, one file, from dough and heat."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings: dict[str, Any] = {"flour": 500, "water": {"ml": 300}}
        self.images = {"a": "1", "b": "2"}
        self.heat = 220
        self.ran: list[str] = []
        self.fails: BaseException | None = None

    def stages(self) -> list[Stage]:
        return [
            Stage("dough", self.path / "dough", self._dough_inputs, self._knead),
            Stage("bread", self.path / "bread.txt", self._bread_inputs, self._bake, ("dough",)),
        ]

    def run(self, chosen: str = "all") -> list[str]:
        self.ran = []
        WorkFolder(self.path).run(self.stages(), chosen)
        return self.ran

    def _dough_inputs(self, _: Mapping[str, str]) -> dict[str, Any]:
        return {"settings": self.settings, "images": self.images}

    def _bread_inputs(self, outputs: Mapping[str, str]) -> dict[str, Any]:
        return {"dough": outputs["dough"], "heat": self.heat}

    def _knead(self, goes_on: bool) -> dict[str, Any]:
        self.ran.append("dough goes on" if goes_on else "dough")
        for number, name in enumerate(self.images):
            if number == 1 and self.fails is not None:
                raise self.fails
            (self.path / "dough" / f"{name}.txt").write_text(f"{self.settings['flour'] // 100} {name}")
        return {"pieces": len(self.images)}

    def _bake(self, _: bool) -> dict[str, Any]:
        self.ran.append("bread")
        (self.path / "bread.txt").write_text(f"{digest(self.path / 'dough')} {self.heat}")
        return {}


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    kitchen = Kitchen(tmp_path / "out")
    assert kitchen.run() == ["dough", "bread"]
    return kitchen


def test_what_is_there_is_skipped_also_in_the_next_process(kitchen: Kitchen, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert kitchen.run() == []
    assert "dough: skipped, nothing that it depends on has changed" in caplog.text
    work = WorkFolder(kitchen.path)
    work.run(kitchen.stages())
    assert work.done["dough"].record["figures"] == {"pieces": 2}
    assert not work.done["dough"].ran


def test_a_stage_runs_again_with_those_behind_it_and_says_which_input_changed(
    kitchen: Kitchen, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    kitchen.heat = 180
    assert kitchen.run() == ["bread"]
    assert "bread: runs (heat changed)" in caplog.text
    kitchen.settings = {"flour": 700, "water": {"ml": 310}}
    assert kitchen.run() == ["dough", "bread"]
    assert "dough: runs (settings.flour: 500 -> 700; settings.water.ml: 300 -> 310)" in caplog.text
    assert "bread: runs (dough changed)" in caplog.text
    kitchen.images = {"a": "9", "c": "3"}
    assert kitchen.run() == ["dough", "bread"]
    assert "dough: runs (images: 1 new (c), 1 gone (b), 1 changed (a))" in caplog.text
    assert not (kitchen.path / "dough" / "b.txt").exists(), "what was made of images that are gone is gone"


def test_what_comes_out_the_same_moves_nothing_behind_it(kitchen: Kitchen) -> None:
    kitchen.settings = {**kitchen.settings, "flour": 501}
    assert kitchen.run() == ["dough"]


def test_a_missing_or_altered_output_is_made_again(kitchen: Kitchen, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    (kitchen.path / "bread.txt").unlink()
    assert kitchen.run() == ["bread"]
    assert "bread.txt is not there" in caplog.text
    (kitchen.path / "dough" / "a.txt").write_text("half")
    assert kitchen.run() == ["dough"]
    assert "dough is not as it was written" in caplog.text
    (kitchen.path / "bread.json").write_text("{")
    (kitchen.path / "bread.txt").unlink()
    assert kitchen.run() == ["bread"], "a damaged record is none"


def test_an_interrupted_stage_goes_on_where_its_inputs_are_the_same(
    kitchen: Kitchen, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    kitchen.settings, kitchen.fails = {"flour": 900}, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        kitchen.run()
    kitchen.fails = None
    assert kitchen.run() == ["dough goes on", "bread"]
    assert "dough: runs (it was broken off)" in caplog.text
    kitchen.settings, kitchen.fails = {"flour": 1000}, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        kitchen.run()
    kitchen.settings, kitchen.fails = {"flour": 1100}, None
    assert kitchen.run() == ["dough", "bread"]
    assert "dough: runs (it was broken off; settings.flour: 1000 -> 1100)" in caplog.text


def test_a_stage_that_fails_leaves_what_was_there(kitchen: Kitchen) -> None:
    before = {path: path.read_bytes() for path in kitchen.path.rglob("*") if path.is_file()}
    settings = kitchen.settings
    kitchen.settings, kitchen.fails = {"flour": 900}, UserError("too dry")
    with pytest.raises(UserError, match="too dry"):
        kitchen.run()
    assert {path: path.read_bytes() for path in kitchen.path.rglob("*") if path.is_file()} == before
    kitchen.settings, kitchen.fails = settings, None
    assert kitchen.run() == []


def test_one_stage_alone_needs_what_it_reads(tmp_path: Path) -> None:
    kitchen = Kitchen(tmp_path / "out")
    with pytest.raises(UserError, match=r"stage=bread needs what the stage dough makes.*Run stage=dough first"):
        kitchen.run("bread")
    assert kitchen.run("dough") == ["dough"]
    assert kitchen.run("bread") == ["bread"]
    kitchen.settings = {"flour": 700, "water": {"ml": 300}}
    with pytest.raises(UserError, match=r"settings\.flour: 500 -> 700\. Run stage=dough first"):
        kitchen.run("bread")


def test_files_of_someone_else_are_not_written_over(tmp_path: Path) -> None:
    kitchen = Kitchen(tmp_path / "out")
    (kitchen.path / "dough").mkdir(parents=True)
    with pytest.raises(UserError, match=r"dough is in the way"):
        kitchen.run()
    (kitchen.path / "dough").rmdir()
    (kitchen.path / "bread.txt").write_text("mine")
    with pytest.raises(UserError, match=r"bread\.txt was not written by the stage bread"):
        kitchen.run()
    assert kitchen.ran == [], "told before anything is run"
    (kitchen.path / "bread.txt").unlink()
    kitchen.run()
    (kitchen.path / "bread.txt").write_text("edited")
    with pytest.raises(UserError, match=r"or was changed since"):
        kitchen.run()


def test_a_crash_between_the_output_and_its_record_is_no_stranger(kitchen: Kitchen) -> None:
    (kitchen.path / "bread.json").unlink()
    assert kitchen.run() == ["bread"]


def test_what_is_read_only_now_or_no_longer_is_told_as_such() -> None:
    assert differences({"crf": None, "images": {"a": "1"}}, {"crf": {"scale": 12}, "images": None}) == [
        "crf: read now",
        "images: no longer read",
    ]
    assert differences({"x": 1}, {}) == ["x: no longer read"]
    assert len(differences({str(at): 0 for at in range(20)}, {str(at): 1 for at in range(20)})) == 9, "the first few"
