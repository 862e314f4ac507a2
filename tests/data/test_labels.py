"""Labels from a cue file or a table, complete and of existing classes, or refused with every problem."""

from __future__ import annotations

import pickle
import pickletools
import warnings
from pathlib import Path

import numpy as np
import pytest

from secseg.data.classes import VOC_CLASSES
from secseg.data.cues import Cues, CueStore
from secseg.data.labels import find_labels, read_labels
from secseg.utils.errors import UserError

CLASSES = ("background", "cat", "dog", "horse")


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text(text, "utf-8")
    return path


def cue_file(tmp_path: Path, **labels: tuple[int, ...]) -> Path:
    empty = np.full((3, 3), 255, np.uint8)
    store = CueStore.from_dict({name: Cues(numbers, empty) for name, numbers in labels.items()}, {})
    store.save(tmp_path / "cues.safetensors")
    return tmp_path / "cues.safetensors"


def test_names_and_numbers_of_classes_are_the_same(tmp_path: Path) -> None:
    path = table(tmp_path, "a.jpg,dog cat\nsub/b,3 1\nc,\nd.x.PNG, background cat\nunused,dog\n")
    expected = {"a": (1, 2), "sub/b": (1, 3), "c": (), "d.x": (1,)}
    labels = read_labels(path, list(expected), CLASSES)
    assert {name: labels[name] for name in expected} == expected


@pytest.mark.parametrize("titles", ["name,labels\n", "\ufeffimage id,classes\n", "\ufeff", "\n", ""])
def test_a_line_of_titles_is_optional(tmp_path: Path, titles: str) -> None:
    assert read_labels(table(tmp_path, f"{titles}a,cat\n"), ["a"], CLASSES) == {"a": (1,)}


def test_every_unknown_class_is_reported_with_its_line_and_the_nearest(tmp_path: Path) -> None:
    path = table(tmp_path, "a,catt\nb,dog 4\n")
    with pytest.raises(UserError, match=r"line 1, a: 'catt' is not a class\. Did you mean 'cat'") as raised:
        read_labels(path, ["a", "b"], CLASSES)
    assert "line 2, b: '4' is not a class." in str(raised.value)


def test_a_name_that_is_listed_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="line 2: a is listed a second time"):
        read_labels(table(tmp_path, "a,cat\na.jpg,dog\n"), ["a"], CLASSES)


def test_images_without_labels_are_all_listed(tmp_path: Path) -> None:
    for path in (table(tmp_path, "a,cat\n"), cue_file(tmp_path, a=(1,))):
        with pytest.raises(UserError, match=r"2 of 3 images have no labels in .*\n  b\n  c\n"):
            read_labels(path, ["a", "b", "c"], CLASSES)


def test_a_cue_file_gives_its_labels_and_must_be_of_the_networks_classes(tmp_path: Path) -> None:
    path = cue_file(tmp_path, a=(1, 3), b=(), c=(7,))
    assert read_labels(path, ["a", "b"], CLASSES) == {"a": (1, 3), "b": ()}
    with pytest.raises(UserError, match=r"have classes outside 0\.\.3:\n  c: class 7"):
        read_labels(path, ["c"], CLASSES)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file of labels at \S+absent\.csv"):
        read_labels(tmp_path / "absent.csv", ["a"], CLASSES)
    with pytest.raises(UserError, match=r"cue file .* does not exist"):
        read_labels(tmp_path / "absent.safetensors", ["a"], CLASSES)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"Cannot read the labels in \S+binary\.csv"):
        read_labels(tmp_path / "binary.csv", ["a"], CLASSES)
    with pytest.raises(UserError, match="holds no labels: neither VOC's annotations"):
        read_labels(tmp_path, ["a"], CLASSES)


def save(path: Path, content: object) -> Path:
    np.save(path, content)  # a dict is pickled
    return path


@pytest.mark.parametrize(
    "key", ["2007_000032", 2007000032, np.int32(2007000032), np.str_("2007_000032"), b"2007_000032"]
)
@pytest.mark.parametrize("kind", [np.float32, np.int64, np.uint8, bool, list])
def test_vectors_of_psa_and_irn_are_read_with_their_kinds_of_keys(tmp_path: Path, key: object, kind: type) -> None:
    vector = np.array([1, 0, 1])
    path = save(tmp_path / "cls_labels.npy", {key: vector.tolist() if kind is list else vector.astype(kind)})
    assert read_labels(path, ["2007_000032"], CLASSES) == {"2007_000032": (1, 3)}


def save_in_protocol(path: Path, content: object, protocol: int, module: str = "numpy._core") -> Path:
    """Write what ``np.save`` of this protocol writes. NumPy 1 names its module ``numpy.core``."""
    array = np.empty((), dtype=object)
    array[()] = content
    data = pickle.dumps(array, protocol)
    if module == "numpy.core":  # in protocol 4, a name starts with its length, and a frame too
        data = pickletools.optimize(data) if protocol < 4 else data
        data = data.replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray")
        data = data.replace(b"cnumpy._core.multiarray", b"cnumpy.core.multiarray")
        if protocol >= 4:
            start = data.index(b"\x95")
            data = data[: start + 1] + (len(data) - start - 9).to_bytes(8, "little") + data[start + 9 :]
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(data)
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("module", ["numpy.core", "numpy._core"])
@pytest.mark.parametrize("keys", ["numbers", "words"])
def test_both_kinds_of_cls_labels_are_read_from_each_version_of_numpy(
    tmp_path: Path, protocol: int, module: str, keys: str
) -> None:
    names = [f"2007_{number:06}" for number in range(50)]
    vectors = np.random.default_rng(0).integers(0, 2, (50, 20)).astype(np.float32)
    makes = {"numbers": lambda name: np.int32(int(name.replace("_", ""))), "words": str}
    content = {makes[keys](name): vector for name, vector in zip(names, vectors, strict=True)}
    path = save_in_protocol(tmp_path / "cls_labels.npy", content, protocol, module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.load(path, allow_pickle=True).item().keys() == content.keys(), "NumPy reads the file, too"
    assert module.encode() in path.read_bytes()
    found = find_labels(path, names, VOC_CLASSES)
    assert found.labels == {
        name: tuple((np.flatnonzero(vector) + 1).tolist()) for name, vector in zip(names, vectors, strict=True)
    }
    assert found.source == "cls_labels.npy (vectors of 0 and 1)"


def test_an_image_that_is_named_twice_in_two_forms_is_refused(tmp_path: Path) -> None:
    vector = np.array([1, 0, 0])
    path = save(tmp_path / "labels.npy", {"2007_000032": vector, 2007000032: vector})
    with pytest.raises(UserError, match="name the image 2007_000032 twice, in two forms"):
        read_labels(path, ["2007_000032"], CLASSES)


def test_vectors_of_other_images_and_numbers_with_leading_zeros_are_matched(tmp_path: Path) -> None:
    path = save(tmp_path / "labels.npy", {32: np.array([0, 1, 0]), 7: np.array([1, 0, 0]), "a.jpg": np.zeros(3)})
    assert read_labels(path, ["000000000032", "a"], CLASSES) == {"000000000032": (2,), "a": ()}
    with pytest.raises(
        UserError,
        match=r"1 of 1 image has no labels in .*labels\.npy:\n  b\nThe file lists other images: 32, 7, a\. Add",
    ):
        read_labels(path, ["b"], CLASSES)


def test_a_vector_may_start_with_the_background_if_this_is_always_1(tmp_path: Path) -> None:
    path = save(tmp_path / "labels.npy", {"a": np.array([1, 0, 0, 1]), "b": np.array([1, 0, 0, 0])})
    assert read_labels(path, ["a", "b"], CLASSES) == {"a": (3,), "b": ()}
    save(path, {"a": np.array([1, 0, 0, 1]), "b": np.array([0, 0, 0, 1])})
    with pytest.raises(UserError, match=r"have 4 entries, but there are 3 classes .*cat, dog, horse"):
        read_labels(path, ["a", "b"], CLASSES)


class Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("ran",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (np.eye(3), r"an array of shape \(3, 3\), without the images of its rows\. Give a dict"),
        ({}, "not a dict from image to vector, or an empty one"),
        (np.array([{}, {}]), "not a dict from image to vector"),
        ({"a": np.array([0.9, 0, 0])}, r"a: 0\.9; a vector of labels holds 0 and 1"),
        ({"a": np.array([np.nan, 0, 1])}, "a: nan; a vector"),
        ({"a": np.eye(3), "b": "cat"}, r"a: not a vector\n  b: not a vector"),
        ({"a": np.zeros(3), "b": np.zeros(2)}, "vectors have 2, 3 entries"),
        ({"a": np.zeros(20)}, "have 20 entries, but there are 3 classes"),
        ({"a": np.array(["cat"])}, "a vector of labels holds 0 and 1"),
        ({"a": np.zeros(3, complex)}, "contains an array of type 'c16'"),
        ({"a": Code()}, r"asks for builtins\.print, .*nothing was run"),
    ],
)
def test_other_arrays_are_refused_with_the_reason(
    tmp_path: Path, content: object, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(tmp_path / "labels.npy", content)
    with pytest.raises(UserError, match=said):
        read_labels(path, ["a"], CLASSES)
    assert capsys.readouterr().out == ""


def test_a_damaged_file_of_vectors_is_reported(tmp_path: Path) -> None:
    path = save(tmp_path / "labels.npy", {"a": np.zeros(3)})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"labels\.npy is truncated or damaged"):
        read_labels(path, ["a"], CLASSES)


def test_unknown_labels_are_reported_with_their_line_and_whole_numbers_may_have_decimals(tmp_path: Path) -> None:
    path = table(tmp_path, "image,labels\na,2.0\nb,nan\n")
    with pytest.raises(UserError, match=r"1 of 2 images has no labels in .*\n  b \(line 3: 'nan'\)"):
        read_labels(path, ["a", "b"], CLASSES)
    assert read_labels(path, ["a"], CLASSES) == {"a": (2,)}
