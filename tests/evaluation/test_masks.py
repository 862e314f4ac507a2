"""A folder of predicted masks is scored, or everything that is wrong with it is reported."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secseg.data.classes import VOC_CLASSES, voc_palette
from secseg.data.splits import ImageSet
from secseg.evaluation import Evaluation, score_folder
from secseg.utils.errors import UserError
from tests.evaluation import random_pair

NAMES = [f"2007_{number:06d}" for number in range(7)]


def save(path: Path, values: np.ndarray, mode: str = "P") -> None:
    path.parent.mkdir(exist_ok=True)
    image = Image.fromarray(voc_palette()[values] if mode == "RGB" else values)
    if mode == "P":
        image.putpalette(voc_palette().reshape(-1).tolist())
    image.save(path)


@pytest.fixture
def image_set(tmp_path: Path) -> ImageSet:
    """Seven images with random masks; as many predictions in ``predicted``, palette and grey."""
    for seed, name in enumerate(NAMES):
        prediction, target = random_pair(seed, classes=21, void=seed > 0)
        save(tmp_path / "masks" / f"{name}.png", target)
        save(tmp_path / "predicted" / f"{name}.png", prediction, "P" if seed % 2 else "L")
    photos, masks = (tuple(tmp_path / kind / f"{name}.png" for name in NAMES) for kind in ("photos", "masks"))
    return ImageSet("VOC2012/val", tuple(NAMES), photos, masks, VOC_CLASSES, voc_palette())


def test_a_folder_has_the_metrics_of_its_masks(tmp_path: Path, image_set: ImageSet) -> None:
    save(tmp_path / "predicted" / "of another split.png", np.full((2, 2), 77, np.uint8))
    scored, widths = ["background", "cat", "cow"], (1, 3)
    expected = Evaluation(VOC_CLASSES, scored, widths)
    for seed, name in enumerate(NAMES):
        expected.update(name, *random_pair(seed, classes=21, void=seed > 0))
    found = score_folder(tmp_path / "predicted", image_set, scored, widths)
    np.testing.assert_equal(found.compute(), expected.compute())
    assert found.images == expected.images


def test_everything_wrong_is_reported_at_once(tmp_path: Path, image_set: ImageSet) -> None:
    folder, zeros = tmp_path / "predicted", np.zeros((11, 14), np.uint8)
    (folder / f"{NAMES[0]}.png").unlink()
    save(folder / f"{NAMES[1]}.png", zeros[:-1])
    save(folder / f"{NAMES[2]}.png", zeros + 255)
    save(folder / f"{NAMES[3]}.png", zeros, "RGB")
    save(folder / f"{NAMES[4]}.png", zeros + 21)
    (folder / f"{NAMES[5]}.png").write_bytes((folder / f"{NAMES[6]}.png").read_bytes()[:60])
    with pytest.raises(UserError) as error:
        score_folder(folder, image_set)
    message = str(error.value)
    for pattern in (
        rf"1 missing.*:\n +{NAMES[0]}.png\n",
        rf"1 not of the size of their mask.*:\n +{NAMES[1]}.png: 14 x 10 pixels, its mask 14 x 11\n",
        rf"1 with pixels of value 255.*:\n +{NAMES[2]}.png\n",
        r"3 not readable as class numbers .*:\n",
        rf"{NAMES[3]}.png holds colours \(RGB pixels\)",
        rf"{NAMES[4]}.png holds the values 21;",
        rf"{NAMES[5]}.png is truncated",
    ):
        assert re.search(pattern, message), pattern
    assert NAMES[6] not in message


def test_the_advice_for_colours_makes_class_numbers_of_them(tmp_path: Path, image_set: ImageSet) -> None:
    numbers = np.arange(21, dtype=np.uint8).reshape(3, 7)
    for name in NAMES:
        save(tmp_path / "predicted" / f"{name}.png", np.resize(numbers, (11, 14)), "RGB")
    with pytest.raises(UserError, match="VOC's palette") as error:
        score_folder(tmp_path / "predicted", image_set)
    statement, expression = re.findall(r"`([^`]+)`", str(error.value))
    scope = {"rgb": voc_palette()[numbers]}
    exec(statement, scope)
    converted = eval(expression, scope)
    assert converted.dtype == np.uint8
    np.testing.assert_array_equal(converted, numbers)


def test_no_advice_for_colours_is_given_without_colours(tmp_path: Path, image_set: ImageSet) -> None:
    (tmp_path / "predicted" / f"{NAMES[0]}.png").unlink()
    with pytest.raises(UserError) as error:
        score_folder(tmp_path / "predicted", image_set)
    assert "palette" not in str(error.value)


def test_a_split_without_masks_and_a_missing_folder_are_reported(tmp_path: Path, image_set: ImageSet) -> None:
    with pytest.raises(UserError, match=r"no folder of predicted masks at .*nowhere"):
        score_folder(tmp_path / "nowhere", image_set)
    bare = ImageSet("mine/test", tuple(NAMES), image_set.images, None, VOC_CLASSES, voc_palette())
    with pytest.raises(UserError, match="mine/test has no masks"):
        score_folder(tmp_path / "predicted", bare)


def test_a_missing_truth_is_reported_as_such(tmp_path: Path, image_set: ImageSet) -> None:
    (tmp_path / "masks" / f"{NAMES[2]}.png").unlink()
    with pytest.raises(UserError, match=rf"no image at .*masks.{NAMES[2]}.png"):
        score_folder(tmp_path / "predicted", image_set)
