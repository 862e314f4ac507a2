"""Cue files are found and opened, whatever their form; folders of other PNGs are reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secseg.data.classes import voc_palette
from secseg.data.cues import CueStore, find_cues, open_cues
from secseg.data.cues import files as cue_files
from secseg.data.masks import save_mask
from secseg.utils.errors import UserError
from secseg.utils.files import user_cache
from tests.data.cues.official_pickle import content, write


def test_an_imported_pickle_is_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECSEG_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "data"
    root.mkdir()
    path = write(root, content())
    before = sorted(p.name for p in root.iterdir())
    first = open_cues(path)
    assert sorted(p.name for p in root.iterdir()) == before
    monkeypatch.setattr(cue_files, "import_official", None)  # a second import would fail
    again = open_cues(path)
    assert again.names == first.names
    np.testing.assert_array_equal(again.maps, first.maps)
    assert again.provenance == first.provenance


def test_a_changed_pickle_or_id_list_is_imported_again(tmp_path: Path) -> None:
    path = write(tmp_path, content())
    assert "2007_000032" in open_cues(path)
    (tmp_path / "input_list.txt").write_text("x.jpg 0\ny.jpg 1\nz.jpg 2\n")
    assert open_cues(path).names == ("x", "y", "z")


def test_a_damaged_cache_is_written_again_and_a_warning_shows_if_it_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECSEG_CACHE", str(tmp_path / "cache"))
    path = write(tmp_path, content())
    open_cues(path)
    (cached,) = (user_cache() / "cues").iterdir()
    cached.write_bytes(b"damaged")
    assert len(open_cues(path)) == 3
    assert len(CueStore.load(cached)) == 3
    (tmp_path / "file").touch()
    monkeypatch.setenv("SECSEG_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="not cached: Cannot write"):
        assert len(open_cues(path)) == 3


def test_cues_are_found_in_and_above_the_root_ours_first(tmp_path: Path) -> None:
    root = tmp_path / "a" / "VOCdevkit" / "VOC2012"
    root.mkdir(parents=True)
    (tmp_path / "cues.safetensors").touch()  # three folders above: not of this root
    assert find_cues(root) is None
    for folder in (tmp_path / "a", tmp_path / "a" / "VOCdevkit", root):
        for name in ("localization_cues.pickle.gz", "localization_cues.pickle", "cues.safetensors"):
            (folder / name).touch()
            assert find_cues(root) == folder / name


def test_pngs_that_are_not_cues_are_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="contains no PNGs"):
        open_cues(tmp_path)
    save_mask(np.zeros((4, 4), np.uint8), tmp_path / "a.png", voc_palette())
    save_mask(np.ones((4, 4), np.uint8), tmp_path / ".trash" / "hidden.png", voc_palette())
    assert open_cues(tmp_path).names == ("a",)
    save_mask(np.ones((4, 5), np.uint8), tmp_path / "b.png", voc_palette())
    assert open_cues(tmp_path).grid == (41, 41), "maps of different sizes are brought to one grid"
    Image.new("RGB", (4, 4), (1, 2, 3)).save(tmp_path / "b.png")
    with pytest.raises(UserError, match=r"b\.png holds colours"):
        open_cues(tmp_path)
