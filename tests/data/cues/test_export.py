"""Cues are exported as the official pickle and as PNGs, and imported unchanged; other programs can read them."""

from __future__ import annotations

import gzip
import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secseg.data.classes import voc_palette
from secseg.data.cues import Cues, CueStore, import_official, open_cues
from secseg.data.cues.export import export_official, export_pngs
from secseg.data.cues.official import official_ids
from secseg.data.cues.store import resample
from secseg.utils.errors import UserError
from tests.cue_making.random_cues import random_store

GRID = (41, 41)


def odd_store(seed: int) -> CueStore:
    """Random cues of any classes, with ids that are difficult for file formats."""
    rng = np.random.default_rng(seed)
    cues = {}
    for name in ("plain", "a/b/c", "a/plain", "with blank", "dotted.name.", "ünïcode", "7"):
        labels = tuple(sorted(rng.choice(np.arange(1, 255), rng.integers(0, 6), replace=False).tolist()))
        values = np.array([0, 255, *labels], np.uint8)
        cues[name] = Cues(labels, rng.choice(values, GRID, p=rng.dirichlet(np.ones(len(values)))))
    cues["empty"] = Cues((), np.full(GRID, 255, np.uint8))
    return CueStore.from_dict(cues, {})


def assert_equal(got: CueStore, expected: CueStore) -> None:
    assert set(got.names) == set(expected.names)
    for name in expected:
        assert got[name].labels == expected[name].labels, name
        np.testing.assert_array_equal(got[name].map, expected[name].map)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("name", ["cues.pickle", "cues.pickle.gz"])
def test_exported_cues_are_imported_unchanged(tmp_path: Path, seed: int, name: str) -> None:
    store = odd_store(seed)
    export_official(store, tmp_path / name)
    back = import_official(tmp_path / name, tmp_path / "input_list.txt")
    assert_equal(back, store)
    assert back.names == store.names
    assert back.provenance["overlaps"] == 0
    assert_equal(open_cues(tmp_path / name), store)


def test_numpy_alone_reads_what_the_official_code_reads(tmp_path: Path) -> None:
    store = odd_store(0)
    export_official(store, tmp_path / "cues.pickle.gz")
    with gzip.open(tmp_path / "cues.pickle.gz") as file:
        content = pickle.load(file, encoding="latin1")
    assert set(content) == {f"{number}_{part}" for number in range(8) for part in ("labels", "cues")}
    for number, name in enumerate(store.names):
        labels, cues = content[f"{number}_labels"], content[f"{number}_cues"]
        assert labels.dtype == cues.dtype == np.int64
        assert tuple(labels) == store[name].labels
        assert cues.shape[0] == 3
        painted = np.full(GRID, 255)
        painted[cues[1], cues[2]] = cues[0]
        np.testing.assert_array_equal(painted, store[name].map)
        assert cues.shape[1] == (store[name].map != 255).sum()


def test_the_pickle_uses_only_names_and_types_of_python_2_and_old_numpy(tmp_path: Path) -> None:
    export_official(odd_store(0), tmp_path / "cues.pickle")
    operations = list(pickletools.genops((tmp_path / "cues.pickle").read_bytes()))
    assert max(operation.proto for operation, _, _ in operations) == 2
    names = {argument for operation, argument, _ in operations if operation.name == "GLOBAL"}
    assert names == {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}
    # Python 2's NumPy takes bytes for type, byte order and content: they must not become unicode.
    unicode = [argument for operation, argument, _ in operations if operation.name == "BINUNICODE"]
    assert all(text.endswith(("_labels", "_cues")) for text in unicode)
    assert not {operation.name for operation, _, _ in operations} & {"REDUCE_EX", "STACK_GLOBAL", "INST", "OBJ"}


def test_official_images_keep_their_official_numbers(tmp_path: Path) -> None:
    ids = official_ids()
    cue_map = np.zeros(GRID, np.uint8)
    export_official(CueStore.from_dict({ids[n]: Cues((5,), cue_map) for n in (900, 7)}, {}), tmp_path / "a.pickle")
    assert (tmp_path / "input_list.txt").read_text() == f"{ids[7]}.jpg 7\n{ids[900]}.jpg 900\n"
    mixed = CueStore.from_dict({ids[900]: Cues((5,), cue_map), "own": Cues((), cue_map)}, {})
    export_official(mixed, tmp_path / "mixed" / "a.pickle")
    assert (tmp_path / "mixed" / "input_list.txt").read_text() == f"{ids[900]}.jpg 0\nown.jpg 1\n"


def test_equal_cues_make_equal_files(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        export_official(odd_store(0), tmp_path / folder / "cues.pickle.gz")
    assert (tmp_path / "a" / "cues.pickle.gz").read_bytes() == (tmp_path / "b" / "cues.pickle.gz").read_bytes()


def test_another_grid_is_resized(tmp_path: Path) -> None:
    store = random_store(0, grid=(29, 33))
    export_official(store, tmp_path / "cues.pickle")
    back = import_official(tmp_path / "cues.pickle", tmp_path / "input_list.txt")
    for name in store:
        np.testing.assert_array_equal(back[name].map, resample(store[name].map, GRID))


@pytest.mark.parametrize("name", ["a\nb", " a", "a/", "/", "a//b"])
def test_an_id_that_does_not_fit_into_the_list_is_reported_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    store = CueStore.from_dict({name: Cues((), np.zeros(GRID, np.uint8))}, {})
    with pytest.raises(UserError, match=r"cannot be written into input_list\.txt"):
        export_official(store, tmp_path / "cues.pickle")
    assert list(tmp_path.iterdir()) == []


def test_a_list_of_other_cues_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "input_list.txt").write_text("other.jpg 0\n")
    with pytest.raises(UserError, match=r"input_list\.txt lists other images"):
        export_official(odd_store(0), tmp_path / "cues.pickle")
    assert [path.name for path in tmp_path.iterdir()] == ["input_list.txt"]


def test_the_official_file_is_exported_and_imported_unchanged(voc_animals: Path, tmp_path: Path) -> None:
    whole = open_cues(voc_animals.parent / "localization_cues.pickle.gz")
    store = CueStore.from_dict({name: whole[name] for name in whole.names[::40]}, {})
    export_official(store, tmp_path / "localization_cues.pickle.gz")
    assert_equal(open_cues(tmp_path / "localization_cues.pickle.gz"), store)


@pytest.mark.parametrize("seed", range(3))
def test_exported_pngs_are_imported_unchanged(tmp_path: Path, seed: int) -> None:
    store = odd_store(seed)
    export_pngs(store, tmp_path, voc_palette())
    from_maps = open_cues(tmp_path)
    assert from_maps.names == tuple(sorted(store.names))
    for name in store:
        np.testing.assert_array_equal(from_maps[name].map, store[name].map)
        assert set(from_maps[name].labels) == set(np.unique(store[name].map).tolist()) - {0, 255}
    with Image.open(tmp_path / "a" / "b" / "c.png") as image:
        assert image.mode == "P"
        assert image.getpalette()[:6] == [0, 0, 0, 128, 0, 0]  # type: ignore[index]


@pytest.mark.parametrize("name", ["../a", "/a", "a/../../b"])
def test_an_id_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    store = CueStore.from_dict({name: Cues((), np.zeros((2, 2), np.uint8))}, {})
    with pytest.raises(UserError, match="lead out of the folder"):
        export_pngs(store, tmp_path / "cues", voc_palette())
    assert list(tmp_path.iterdir()) == []
