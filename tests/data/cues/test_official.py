"""The official cue file is read without running code from it; values that are not valid are reported."""

from __future__ import annotations

import gzip
import os
import pickletools
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secseg.data.cues import import_official, open_cues
from secseg.data.cues.official import official_ids, read_id_list, read_official
from secseg.data.masks import read_mask
from secseg.data.voc import open_split, shipped_ids
from secseg.utils.errors import UserError
from tests.data.cues.official_pickle import content, write


def test_maps_and_labels_are_those_of_the_pickle_under_image_ids(tmp_path: Path) -> None:
    path = write(tmp_path, content())
    store = import_official(path, tmp_path / "input_list.txt")
    assert store.names == ("2007_000032", "2007_000039", "2007_000063")
    assert store.grid == (41, 41)
    two = store["2007_000039"]
    assert two.labels == (3, 20)
    expected = np.full((41, 41), 255, dtype=np.uint8)
    expected[40, 40], expected[5, 6:8], expected[9, 9] = 0, 20, 3
    np.testing.assert_array_equal(two.map, expected)
    assert store.provenance["overlaps"] == 0


def test_a_plain_pickle_and_arrays_in_fortran_order_or_other_integers_read_the_same(tmp_path: Path) -> None:
    packed = import_official(write(tmp_path, content()), tmp_path / "input_list.txt")
    for kind in ("<i4", ">i8", "u1"):
        changed = {key: np.asfortranarray(value.astype(kind)) for key, value in content().items()}
        plain = import_official(write(tmp_path, changed, "localization_cues.pickle"), tmp_path / "input_list.txt")
        np.testing.assert_array_equal(plain.maps, packed.maps)
        np.testing.assert_array_equal(plain.labels, packed.labels)


def test_overlaps_are_resolved_by_region_size_and_reported(tmp_path: Path) -> None:
    entries = content()
    # (5, 6): 20 has two cells, 3 has three. (9, 8) and (9, 9): 3 against background, whose region is smaller.
    places = [(20, 5, 6), (20, 5, 7), (3, 5, 6), (3, 9, 9), (3, 9, 8), (0, 9, 9), (0, 9, 8)]
    entries["1_cues"] = np.array(places).T
    path = write(tmp_path, entries)
    with pytest.warns(UserWarning, match="3 grid cells have more than one class"):
        store = import_official(path, tmp_path / "input_list.txt")
    cue_map = store["2007_000039"].map
    assert cue_map[5, 6] == 20  # the smaller region wins
    assert cue_map[9, 9] == cue_map[9, 8] == 3  # objects beat background
    assert store.provenance["overlaps"] == 3
    assert "smaller region" in store.provenance["overlap_rule"]


class _Calls:
    """Pickles to a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


MARK = "import pathlib; pathlib.Path({!r}).touch()"


def _attacks(mark: str) -> dict[str, Any]:
    code = MARK.format(mark)
    return {
        "posix.system": _Calls(os.system, f"touch {mark}"),
        "builtins.eval": _Calls(eval, f"exec({code!r})"),
        "builtins.exec": _Calls(exec, code),
        "builtins.getattr": _Calls(getattr, "", "format"),
        "builtins.__import__": _Calls(__import__, "antigravity"),
        "numpy.core.multiarray.scalar": np.int64(3),
        "numpy.load": _Calls(np.load, mark),
    }


@pytest.mark.parametrize("name", list(_attacks("x")))
@pytest.mark.parametrize("place", ["whole", "entry", "state"])
def test_code_in_a_pickle_is_refused_by_name_and_not_run(tmp_path: Path, name: str, place: str) -> None:
    mark = tmp_path / "ran"
    attack = _attacks(str(mark))[name]
    entries: Any = {"whole": attack, "entry": {**content(), "3_cues": attack}, "state": {"0_cues": [attack, 1]}}[place]
    path = write(tmp_path, entries)
    with pytest.raises(UserError, match=f"asks for {name}, .*nothing was run"):
        open_cues(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "name",
    [
        ("numpy.core.multiarray", "_reconstruct.__globals__"),
        ("numpy", "ndarray.__subclasses__"),
        ("numpy", "dtype.__class__"),
        ("numpy.core", "multiarray"),
        ("numpy.core.multiarray", "fromfile"),
        ("secseg.data.array_pickle", "Array"),
    ],
)
def test_only_whole_names_pass_not_prefixes_of_them(tmp_path: Path, name: tuple[str, str]) -> None:
    module, attribute = (bytes([0x8C, len(part)]) + part.encode() for part in name)
    path = tmp_path / "localization_cues.pickle"
    path.write_bytes(b"\x80\x04" + module + attribute + b"\x93.")
    assert any(code.name == "STACK_GLOBAL" for code, *_ in pickletools.genops(path.read_bytes()))
    with pytest.raises(UserError, match=f"asks for {'.'.join(name)}, "):
        read_official(path)


@pytest.mark.parametrize("kind", ["O", "f8", "M8[s]", "S4"])
def test_arrays_of_anything_but_integers_are_refused(tmp_path: Path, kind: str) -> None:
    entries: dict[str, Any] = {**content(), "0_labels": np.array([7]).astype(kind)}
    with pytest.raises(UserError, match=r"contains an array of type .*, which cues do not need"):
        read_official(write(tmp_path, entries))


@pytest.mark.parametrize("keep", [0, 1, 2, 30, 0.5, 0.95])
@pytest.mark.parametrize("name", ["localization_cues.pickle.gz", "localization_cues.pickle"])
def test_a_truncated_file_is_reported(tmp_path: Path, name: str, keep: float) -> None:
    path = write(tmp_path, content(), name)
    data = path.read_bytes()
    path.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
    with pytest.raises(UserError, match=r"localization_cues.*(truncated|damaged)"):
        read_official(path)


def test_a_file_damaged_in_the_middle_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path, content())
    whole = path.read_bytes()
    for at in range(10, len(whole), 7):
        path.write_bytes(whole[:at] + b"\xff\xff\xff\xff" + whole[at + 4 :])
        with pytest.raises(UserError, match="truncated or damaged"):
            read_official(path)


def test_a_file_that_unpacks_to_too_many_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secseg.data.cues.official.LIMIT", 100_000)
    path = tmp_path / "localization_cues.pickle.gz"
    path.write_bytes(gzip.compress(bytes(1_000_000)))
    with pytest.raises(UserError, match="unpacks to more than 100,000 bytes"):
        read_official(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x02}r" + (2**24).to_bytes(4, "little") + b".", "not a dict of labels"),  # an empty dict is number 2^24
        (b"\x80\x05\x96" + (2**32).to_bytes(8, "little") + b".", "it ends within a bytearray"),  # of 2^32 bytes
    ],
    ids=["memo", "bytearray"],
)
def test_few_bytes_cannot_allocate_much_memory(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "localization_cues.pickle"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=message):
            read_official(path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"1_cues": np.array([[3], [41], [0]])}, r"outside the 41 x 41 grid .*\n  image 1"),
        ({"1_cues": np.array([[3], [0], [-1]])}, r"outside the 41 x 41 grid .*\n  image 1"),
        ({"1_cues": np.array([[300], [0], [0]])}, r"classes outside 0\.\.254 in:\n  image 1"),
        ({"1_cues": np.array([[2**63 + 5], [0], [0]], dtype=np.uint64)}, r"classes outside 0\.\.254"),
        ({"1_cues": np.array([[5], [0], [0]])}, r"2007_000039: class 5"),
        ({"1_labels": np.array([0, 3])}, r"image 1 has labels \[0, 3\]"),
        ({"1_cues": np.array([[5, 3], [0, 0]])}, r"image 1 have shape \(2, 2\)"),
        ({"9_labels": np.array([3])}, r"image 9: has either labels or cues, not both"),
        ({"1_masks": np.array([3])}, r"'1_masks': array"),
        ({"1_cues": "text"}, r"'1_cues': str"),
    ],
)
def test_values_that_are_not_valid_are_reported(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write(tmp_path, {**content(), **changes})
    with pytest.raises(UserError, match=message):
        import_official(path, tmp_path / "input_list.txt")


def test_a_pickle_of_another_type_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="contains a list, not a dict"):
        read_official(write(tmp_path, [1, 2]))


def test_an_id_list_that_does_not_fit_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path, content())
    with pytest.raises(UserError, match="3 images, which do not fit the official list"):
        import_official(path)
    (tmp_path / "input_list.txt").write_text("2007_000032.jpg 0\n")
    with pytest.raises(UserError, match=r"no id for image 1, 2"):
        import_official(path, tmp_path / "input_list.txt")
    (tmp_path / "input_list.txt").write_text("2007_000032.jpg 0\n2007_000039.jpg 0\nwhat\n")
    with pytest.raises(UserError, match=r"line 2: .*\n.*line 3: 'what'"):
        read_id_list(tmp_path / "input_list.txt")


def test_an_id_list_may_have_a_byte_order_mark_spaces_and_backslashes(tmp_path: Path) -> None:
    (tmp_path / "input_list.txt").write_bytes(b"\xef\xbb\xbfa.jpg 0\r\n\r\nmy photo.jpg 1\r\nsub\\c.jpg\t2\r\n")
    assert read_id_list(tmp_path / "input_list.txt") == {0: "a", 1: "my photo", 2: "sub/c"}


def test_the_shipped_order_names_each_official_image_once() -> None:
    ids = official_ids()
    assert sorted(ids) == list(range(10_582))
    assert set(ids.values()) == set(shipped_ids("train_aug"))


@pytest.fixture(scope="module")
def official(voc_animals: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The real file, imported with the ids that the package ships."""
    return import_official(voc_animals.parent / "localization_cues.pickle.gz")


def test_the_official_file_has_the_figures_measured_on_it(official: Any, voc_animals: Path) -> None:
    maps = official.maps.reshape(len(official), -1)
    assert len(official) == 10_582
    assert official.provenance["overlaps"] == 0
    background = (maps == 0).sum(axis=1)
    assert np.bincount(background).argmax() == 168
    assert np.median(background) == 167
    assert background.min() == 50
    in_maps, in_labels = official.class_counts(official.names) > 0, official.labelled(official.names)
    assert in_maps[:, 1:255].any(axis=1).all()
    assert in_labels.sum() == 15_471
    assert (in_maps[:, 1:255] == in_labels[:, 1:255]).all()  # each labelled class has a cue
    assert np.bincount(in_labels.sum(axis=1)).tolist() == [0, 6804, 2857, 758, 136, 27]
    coverage = [(maps == 0).mean(), ((maps > 0) & (maps < 255)).mean(), (maps == 255).mean()]
    assert [round(100 * part, 1) for part in coverage] == [9.8, 14.2, 76.0]


def test_the_shipped_order_is_the_official_list(voc_animals: Path) -> None:
    assert official_ids() == read_id_list(voc_animals.parent / "input_list.txt")


def test_the_cues_lie_on_their_objects(official: Any, voc_animals: Path) -> None:
    """Wrong ids, or exchanged rows and columns, would lower the measured precision."""
    images = open_split(voc_animals, "train_aug", require_masks=True)
    assert images.masks is not None
    right = np.zeros(2)
    total = np.zeros(2)
    for name, path in list(zip(images.names, images.masks, strict=True))[::14]:
        mask = read_mask(path, 21)
        rows, columns = (np.linspace(0, side - 1, 41).round().astype(int) for side in mask.shape)
        truth, cues = mask[np.ix_(rows, columns)], official[name].map
        for kind, where in enumerate((cues == 0, (cues > 0) & (cues < 255))):
            where &= truth != 255
            right[kind] += (truth == cues)[where].sum()
            total[kind] += where.sum()
    assert right[0] / total[0] > 0.90
    assert right[1] / total[1] > 0.75
