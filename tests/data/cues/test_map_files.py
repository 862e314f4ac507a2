"""Files of IRN, PSA and CLIP-ES, written by plain NumPy and torch code, are read; wrong ones are refused by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from secseg.data.classes import VOC_CLASSES
from secseg.data.cues.export_maps import strided_size, write_ir_label, write_irn_cam, write_psa_cam
from secseg.data.cues.map_files import (
    LAYOUTS,
    NOT_SURE,
    ClassMaps,
    maps_of_mask,
    possible_layouts,
    read_class_maps,
    same_shape,
)
from secseg.data.cues.store import resample
from secseg.utils.errors import UserError
from tests.reference import map_files as others

SIZE = (50, 66)
KEYS = [14, 2]
MAPS = np.random.default_rng(0).random((2, *SIZE)).astype(np.float32)
WRITERS: dict[str, Callable[[Path], None]] = {
    "irn_cam": lambda path: others.write_irn(path, KEYS, MAPS),
    "irn_cam_strided": lambda path: others.write_irn_strided(path, KEYS, MAPS[:, ::4, ::4].copy()),
    "clip_es": lambda path: others.write_clip_es(path, KEYS, MAPS),
    "psa_cam": lambda path: others.write_psa(path, KEYS, MAPS),
    "psa_crf": lambda path: others.write_psa_crf(path, KEYS, MAPS, alpha=4),
}


def read(path: Path, layout: str) -> ClassMaps:
    return read_class_maps(path, layout, VOC_CLASSES, SIZE)


@pytest.mark.parametrize("layout", WRITERS)
def test_the_content_shows_the_layout_and_the_maps_are_read(layout: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    WRITERS[layout](path)
    assert possible_layouts(path) == {layout}
    found = read(path, layout)
    assert found.classes == (3, 15), "sorted, from 1"
    assert found.maps.dtype == np.float32
    content = others.read(path)
    expected = {
        "irn_cam": lambda: content["high_res"][::-1],
        "irn_cam_strided": lambda: content["cam"].numpy()[::-1],
        "clip_es": lambda: content["attn_highres"][::-1],
        "psa_cam": lambda: [content[2], content[14]],
        "psa_crf": lambda: [content[3], content[15]],
    }[layout]()
    np.testing.assert_array_equal(found.maps, np.array(expected))
    assert (found.background is None) == (layout != "psa_crf")
    if found.background is not None:
        np.testing.assert_array_equal(found.background, content[0])


@pytest.mark.parametrize("classes", [(), (1,), (3, 15)])
def test_exported_maps_are_read_by_the_programs_and_by_us(classes: tuple[int, ...], tmp_path: Path) -> None:
    maps, strided = MAPS[: len(classes)], MAPS[: len(classes), ::4, ::4].copy()
    assert strided.shape[1:] == strided_size(SIZE)
    write_irn_cam(tmp_path / "irn.npy", classes, maps, strided)
    write_psa_cam(tmp_path / "psa.npy", classes, maps)
    content = others.read(tmp_path / "irn.npy")
    assert isinstance(content["keys"], torch.Tensor)
    assert content["keys"].tolist() == [number - 1 for number in classes]
    assert torch.equal(content["cam"], torch.from_numpy(strided))
    np.testing.assert_array_equal(content["high_res"], maps)
    assert others.irn_labels(content).shape == SIZE
    assert list(others.read(tmp_path / "psa.npy")) == [number - 1 for number in classes]
    for name, layout in (("irn", "irn_cam"), ("psa", "psa_cam")):
        assert layout in possible_layouts(tmp_path / f"{name}.npy")
        found = read(tmp_path / f"{name}.npy", layout)
        assert found.classes == classes
        np.testing.assert_array_equal(found.maps, maps)


def test_exported_files_name_the_modules_of_old_releases_of_numpy(tmp_path: Path) -> None:
    write_irn_cam(tmp_path / "irn.npy", (3, 15), MAPS, MAPS)
    write_psa_cam(tmp_path / "psa.npy", (3, 15), MAPS)
    for name in ("irn", "psa"):
        assert b"numpy._core" not in (tmp_path / f"{name}.npy").read_bytes()


def test_a_map_of_1_as_key_0_can_be_of_an_aeroplane_or_of_background_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    others.write_psa(path, [0], np.ones((1, *SIZE), np.float32))
    assert possible_layouts(path) == {"psa_cam", "psa_crf"}
    assert read(path, "psa_cam").classes == (1,)
    assert read(path, "psa_crf").classes == ()
    others.write_psa(path, [0], np.full((1, *SIZE), 0.5, np.float32))
    assert possible_layouts(path) == {"psa_cam"}
    others.write_psa(path, [], np.zeros((0, *SIZE), np.float32))
    assert possible_layouts(path) == {"psa_cam"}
    assert read(path, "psa_cam").maps.shape == (0, *SIZE)


@pytest.mark.parametrize("size", [(41, 41), (42, 60), (81, 41), (375, 500), (43, 333)])
def test_a_mask_that_was_enlarged_from_a_grid_gives_the_grid_back(size: tuple[int, int], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cues = rng.choice(np.array([0, 3, 15, 255], np.uint8), (41, 41))
    assert np.array_equal(resample(resample(cues, size), (41, 41)), cues)
    write_ir_label(tmp_path / "a.png", resample(cues, size))
    maps = maps_of_mask(resample(cues, size)).on_grid((41, 41))
    assert maps.classes == (3, 15)
    for number, one in zip(maps.classes, maps.maps, strict=True):
        np.testing.assert_array_equal(one == 1, cues == number)
        np.testing.assert_array_equal(one == np.float32(NOT_SURE), cues == 255)


def test_shapes_of_the_whole_image_are_accepted_and_others_are_not() -> None:
    for size in ((375, 500), (333, 500), (500, 281), (51, 50)):
        for stride in (1, 2, 4, 8, 16, 32):
            assert same_shape(tuple(-(-side // stride) for side in size), size)
            assert same_shape(tuple(side // stride for side in size), size)
        assert same_shape((41, 41), size)
        assert same_shape((2 * size[0], 2 * size[1]), size)
    for shape in ((500, 375), (375, 400), (300, 500), (94, 94 + 40), (0, 0)):
        assert not same_shape(shape, (375, 500))


def psa(path: Path, content: dict[Any, Any]) -> None:
    np.save(path, content, allow_pickle=True)  # type: ignore[arg-type]


NAN = np.where(np.arange(SIZE[1]) == 3, np.nan, MAPS[0]).astype(np.float32)
WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "another class": (
        lambda p: psa(p, {20: MAPS[0]}),
        "the keys 20, but the classes have the keys 0 to 19",
    ),
    "a class below 0": (lambda p: others.write_irn(p, [-1, 2], MAPS), "has maps of the keys -1, but the classes"),
    "too few maps": (lambda p: others.write_irn(p, KEYS, MAPS[:1]), "2 keys (2 different ones) and 1 maps in high_res"),
    "a class twice": (lambda p: others.write_irn(p, [2, 2], MAPS), "2 keys (1 different ones) and 2 maps in high_res"),
    "NaN": (lambda p: psa(p, {2: NAN}), "the map of bird has values that are not finite"),
    "negative": (lambda p: psa(p, {2: -MAPS[0]}), "maps are in 0..1. Set negative values to 0"),
    "scores": (lambda p: psa(p, {2: 30 * MAPS[0]}), "and divide each map by its maximum"),
    "transposed": (lambda p: psa(p, {2: MAPS[0].T}), "the map of bird has the shape (66, 50), and the image (50, 66)"),
    "another size": (lambda p: psa(p, {2: MAPS[0], 3: MAPS[0, ::2, ::2]}), "the map of boat has the shape (25, 33)"),
    "a vector": (lambda p: psa(p, {2: MAPS[0, 0]}), "is an array of shape (66,) instead of an array of 2 dimensions"),
    "one map": (lambda p: psa(p, {"keys": np.array([2]), "high_res": MAPS[0]}), "instead of an array of 3 dimensions"),
    "no keys": (lambda p: psa(p, {"high_res": MAPS}), "holds a dict with the keys high_res. Expected CAMs of IRN"),
    "no maps": (lambda p: psa(p, {"keys": np.array([2])}), "holds a dict with the keys keys. Expected CAMs of IRN"),
    "names": (lambda p: psa(p, {"bird": MAPS[0]}), "holds a dict with the keys bird. Expected CAMs of IRN"),
    "keys of text": (lambda p: psa(p, {"keys": ["bird"], "cam": MAPS[:1]}), "keys is an array of shape (1,)"),
    "keys between classes": (lambda p: psa(p, {"keys": np.array([1.5]), "cam": MAPS[:1]}), "keys are float64 numbers"),
    "text as map": (lambda p: psa(p, {2: "map"}), "map of key 2 is a str instead of an array"),
    "an array": (lambda p: np.save(p, MAPS), "holds an array of type float32 and shape (2, 50, 66) instead of a dict"),
    "a list": (lambda p: np.save(p, np.array([[1], "a"], dtype=object)), "holds several objects instead of a dict"),
    "complex": (lambda p: psa(p, {2: MAPS[0] * 1j}), "contains an array of type 'c8', which maps do not need"),
    "code": (lambda p: psa(p, {2: Path("x")}), "asks for pathlib."),
    "a text": (lambda p: p.write_bytes(b"import os"), "is not a file of np.save"),
    "nothing": (lambda p: p.write_bytes(b""), "is not a file of np.save"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_file_is_refused_with_its_name_what_is_wrong_and_what_to_do(what: str, tmp_path: Path) -> None:
    write, said = WRONG[what]
    path = tmp_path / "2007_000032.npy"
    write(path)
    with pytest.raises(UserError, match=rf"2007_000032\.npy.*{re.escape(said)}") as raised:
        read(path, max(possible_layouts(path)))
    assert re.search(r"Expected|Make|Choose|divide", str(raised.value))


@pytest.mark.parametrize("layout", WRITERS)
def test_a_truncated_file_is_refused(layout: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    WRITERS[layout](path)
    whole = path.read_bytes()
    for length in (8, 100, 140, 300, 1000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"a\.npy"):
            read(path, layout)


def test_a_file_of_another_layout_than_the_others_is_refused(tmp_path: Path) -> None:
    WRITERS["clip_es"](tmp_path / "a.npy")
    with pytest.raises(UserError, match=r"a\.npy holds CAMs of CLIP-ES.*other files in its folder hold CAMs of PSA"):
        read(tmp_path / "a.npy", "psa_cam")
    assert set(WRITERS) | {"png"} == set(LAYOUTS)
