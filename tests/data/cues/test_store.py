"""The cue store is saved and loaded unchanged, from a mapped file; damaged and other files are reported."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy.ndimage import zoom

from secseg.data.cues import Cues, CueStore, open_cues
from secseg.data.cues.store import resample
from secseg.utils.errors import UserError


def some_cues() -> dict[str, Cues]:
    rng = np.random.default_rng(0)
    return {
        "2008_007028": Cues((8, 15), rng.choice(np.array([0, 8, 15, 255], dtype=np.uint8), (5, 7))),
        "b": Cues((254,), np.full((5, 7), 254, dtype=np.uint8)),
        "ü c": Cues((), np.full((5, 7), 255, dtype=np.uint8)),
    }


def saved(path: Path) -> Path:
    CueStore.from_dict(some_cues(), {"source": "a test", "threshold": 0.2}).save(path / "cues.safetensors")
    return path / "cues.safetensors"


def test_names_have_one_unicode_form(tmp_path: Path) -> None:
    cues = Cues((), np.full((5, 7), 255, dtype=np.uint8))
    store = CueStore.from_dict({"cafe\u0301": cues}, {})
    assert store.names == ("caf\u00e9",)
    CueStore(["cafe\u0301"], store.maps, store.labels, {}).save(tmp_path / "cues.safetensors")  # an older file
    assert "caf\u00e9" in CueStore.load(tmp_path / "cues.safetensors")
    with pytest.raises(UserError, match="differ only in their Unicode form"):
        CueStore.from_dict({"cafe\u0301": cues, "caf\u00e9": cues}, {})


def test_a_saved_store_is_loaded_unchanged(tmp_path: Path) -> None:
    store = CueStore.load(saved(tmp_path))
    assert store.names == tuple(store) == tuple(some_cues())
    assert (len(store), store.grid, store.provenance) == (3, (5, 7), {"source": "a test", "threshold": 0.2})
    for name, cues in some_cues().items():
        assert name in store
        assert store[name].labels == cues.labels
        assert store[name].map.dtype == np.uint8
        np.testing.assert_array_equal(store[name].map, cues.map)
    assert "a" not in store


def test_maps_stay_on_disk_and_a_map_that_was_read_is_a_copy(tmp_path: Path) -> None:
    store = CueStore.load(saved(tmp_path))
    assert isinstance(store.maps, np.memmap)
    assert not store.maps.flags.writeable
    store["b"].map[:] = 0
    assert (store["b"].map == 254).all()


def test_labels_are_sorted() -> None:
    store = CueStore.from_dict({"a": Cues((15, 3), np.zeros((2, 2), dtype=np.uint8))}, {})
    assert store["a"].labels == (3, 15)


def test_an_unknown_image_is_reported_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"no cues for the image '2008_007029'. Did you mean '2008_007028'"):
        CueStore.from_dict(some_cues(), {})["2008_007029"]


@pytest.mark.parametrize(
    ("cues", "message"),
    [
        (
            {"a": Cues((1,), np.zeros((2, 2), np.uint8)), "b": Cues((1,), np.zeros((2, 3), np.uint8))},
            r"b: uint8 \(2, 3\)",
        ),
        ({"a": Cues((1,), np.zeros((2, 2), np.int64))}, "a: int64"),
        ({"a": Cues((1,), np.full((2, 2), 2, np.uint8))}, "a: class 2"),
        ({"a": Cues((0,), np.zeros((2, 2), np.uint8))}, r"a: \[0\]"),
        ({"a": Cues((255,), np.zeros((2, 2), np.uint8))}, r"a: \[255\]"),
    ],
)
def test_cues_that_do_not_fit_are_refused(cues: dict[str, Cues], message: str) -> None:
    with pytest.raises(UserError, match=message):
        CueStore.from_dict(cues, {})


@pytest.mark.parametrize("keep", [0, 4, 60, 0.9])
def test_a_truncated_file_is_reported(tmp_path: Path, keep: float) -> None:
    path = saved(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
    with pytest.raises(UserError, match=r"cues\.safetensors is damaged"):
        CueStore.load(path)


def test_files_with_other_content_are_reported(tmp_path: Path) -> None:
    other = tmp_path / "model.safetensors"
    save_file({"weight": np.zeros(3, dtype=np.float32)}, other)
    with pytest.raises(UserError, match=r"not a cue file: it contains weight"):
        CueStore.load(other)
    metadata = {"secseg.cues": '{"names": ["a"], "provenance": {}}'}
    save_file({"maps": np.zeros((2, 4, 4), np.uint8), "labels": np.zeros((2, 1), np.uint8)}, other, metadata)
    with pytest.raises(UserError, match=r"damaged \(1 names, maps \(2, 4, 4\)"):
        CueStore.load(other)
    save_file({"maps": np.zeros((1, 4, 4), np.float32), "labels": np.zeros((1, 1), np.uint8)}, other, metadata)
    with pytest.raises(UserError, match=r"maps is F32, not U8"):
        CueStore.load(other)
    for header in ("[1]", "{", '{"names": ["a"]}', '{"names": 3, "provenance": {}}'):
        save_file(
            {"maps": np.zeros((1, 4, 4), np.uint8), "labels": np.zeros((1, 1), np.uint8)},
            other,
            {"secseg.cues": header},
        )
        with pytest.raises(UserError, match="is damaged"):
            CueStore.load(other)


def test_equal_cues_make_equal_bytes(tmp_path: Path) -> None:
    assert len({saved(tmp_path).read_bytes() for _ in range(8)}) == 1


def test_a_missing_file_is_reported_with_the_nearest_name(tmp_path: Path) -> None:
    saved(tmp_path)
    for name in ("cue.safetensors", "cues.safetensor.pickle"):
        with pytest.raises(UserError, match=r"The cue file .*cue.* does not exist.* Did you mean 'cues\.safetensors'"):
            open_cues(tmp_path / name)
    with pytest.raises(UserError, match=r"folder .*nowhere does not exist"):
        open_cues(tmp_path / "nowhere" / "cues.safetensors")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path)
    before = path.read_bytes()

    def full(self: Path, data: bytes) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space left on device"):
        CueStore.load(path).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("size", [(29, 29), (41, 41), (57, 33), (81, 81), (1, 3)])
def test_resampling_takes_the_nearest_cell_with_aligned_corners(size: tuple[int, int]) -> None:
    cue_map = np.random.default_rng(0).choice(np.array([0, 8, 15, 255], dtype=np.uint8), (41, 41))
    got = resample(cue_map, size)
    assert got.shape == size
    assert got.dtype == np.uint8
    assert got[0, 0] == cue_map[0, 0]
    for axis, side in enumerate(size):
        at = np.arange(side) * 40 / max(side - 1, 1)
        taken = resample(np.arange(41, dtype=np.uint8)[:, None].repeat(41, 1) if axis == 0 else
                         np.arange(41, dtype=np.uint8)[None].repeat(41, 0), size)  # fmt: skip
        index = taken[:, 0] if axis == 0 else taken[0]
        assert np.abs(index - at).max() <= 0.5
    if size == (81, 81):
        np.testing.assert_array_equal(got[::2, ::2], cue_map)
    if size == (41, 41):
        np.testing.assert_array_equal(got, cue_map)


def test_resampling_to_the_prototypes_grid_is_scipys_nearest_zoom() -> None:
    cue_map = np.random.default_rng(0).choice(np.array([0, 8, 15, 255], dtype=np.uint8), (41, 41))
    np.testing.assert_array_equal(resample(cue_map, (29, 29)), zoom(cue_map, 29 / 41, order=0))
