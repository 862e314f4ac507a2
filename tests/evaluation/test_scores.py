"""All metrics of one variant, from one process or several; a folder of masks is scored, or its errors are reported."""

from __future__ import annotations

import math
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secseg.data.classes import VOC_CLASSES, voc_palette
from secseg.data.splits import ImageSet
from secseg.evaluation import Evaluation, score_folder
from secseg.utils.errors import UserError
from tests.evaluation import evaluated, random_pair
from tests.reference import scores as reference

NAMES = ("background", "cat", "dog", "bird")
IDS = [f"2007_{number:06d}" for number in range(7)]


def test_the_parts_of_several_processes_merge_to_the_metrics_of_one() -> None:
    settings = {"scored": ["background", "cat", "bird"], "widths": (1, 4)}
    whole = evaluated(range(7), NAMES, **settings)
    first, *others = (pickle.loads(pickle.dumps(evaluated(range(a, 7, 3), NAMES, **settings))) for a in (2, 0, 1))
    for other in others:
        first.merge(other)
    assert first.compute() == whole.compute()
    assert first.worst(7) == whole.worst(7)
    np.testing.assert_array_equal(first.score.confusion, whole.score.confusion)
    assert first.score.confusion.dtype == np.int64


def test_an_empty_part_changes_nothing() -> None:
    evaluation = evaluated(range(3), NAMES)
    before = evaluation.compute()
    evaluation.merge(Evaluation(NAMES))
    assert evaluation.compute() == before


def test_an_image_is_not_added_twice() -> None:
    evaluation = evaluated(range(3), NAMES)
    before = evaluation.compute()
    with pytest.raises(ValueError, match="added twice: image 1"):
        evaluation.update("image 1", *random_pair(1))
    with pytest.raises(ValueError, match="added twice: image 2"):
        evaluation.merge(evaluated(range(2, 5), NAMES))
    assert evaluation.compute() == before


@pytest.mark.parametrize("settings", [{"scored": ["cat"]}, {"widths": (1, 2)}])
def test_parts_with_other_settings_are_not_added(settings: dict) -> None:
    evaluation = evaluated(range(1), NAMES)
    before = evaluation.compute()
    with pytest.raises(ValueError, match="cannot add"):
        evaluation.merge(Evaluation(NAMES, **settings))
    assert evaluation.compute() == before


def test_the_size_bias_is_predicted_over_true_area_without_void() -> None:
    pairs = [random_pair(seed, classes=3) for seed in range(3)]  # no bird
    evaluation = Evaluation(NAMES)
    for number, pair in enumerate(pairs):
        evaluation.update(str(number), *pair)
    bias = evaluation.compute()["size_bias"]
    by_definition = reference.size_bias([p for p, _ in pairs], [t for _, t in pairs], 4)
    np.testing.assert_allclose(list(bias.values()), by_definition, rtol=0, atol=1e-12)
    assert math.isnan(bias["bird"])


def test_a_class_that_is_never_predicted_has_size_bias_zero() -> None:
    evaluation = Evaluation(NAMES)
    evaluation.update("a", np.zeros((2, 2), int), np.array([[0, 1], [1, 255]]))
    bias = evaluation.compute()["size_bias"]
    assert bias["background"] == 3
    assert bias["cat"] == 0


def test_an_image_is_scored_over_the_classes_in_its_prediction_or_truth() -> None:
    evaluation = evaluated(range(4), NAMES)
    for seed in range(4):
        prediction, target = random_pair(seed, void=seed % 3 > 0)
        iou = reference.class_iou([prediction], [target], 4)
        assert evaluation.images[f"image {seed}"] == pytest.approx(reference.mean(iou), abs=1e-12)


def test_the_worst_images_come_first_equal_ones_by_name_and_without_those_that_have_no_score() -> None:
    evaluation = Evaluation(NAMES)
    truth = np.array([[0, 0], [1, 1]])
    evaluation.update("right", truth, truth)
    evaluation.update("void", truth, np.full((2, 2), 255))
    evaluation.update("wrong b", 1 - truth, truth)
    evaluation.update("half", np.zeros((2, 2), int), truth)
    evaluation.update("wrong a", 1 - truth, truth)
    assert evaluation.worst(4) == [("wrong a", 0), ("wrong b", 0), ("half", 0.25), ("right", 1)]
    assert evaluation.worst(1) == [("wrong a", 0)]
    assert evaluation.compute()["images"] == 5


@pytest.mark.parametrize("classes", [2, 100])
@pytest.mark.parametrize("value", [0, 1, 255])
def test_one_pixel_is_enough(classes: int, value: int) -> None:
    evaluation = Evaluation([f"class {number}" for number in range(classes)])
    evaluation.update("pixel", np.array([[1]]), np.array([[value]]))
    result = evaluation.compute()
    assert result["miou"] == {0: 0, 1: 1, 255: pytest.approx(math.nan, nan_ok=True)}[value]


def test_a_refused_image_leaves_no_trace() -> None:
    evaluation = evaluated(range(2), NAMES)
    before = evaluation.compute()
    prediction, target = random_pair(5)
    with pytest.raises(UserError, match="outside the 4 classes"):
        evaluation.update("image 5", prediction + 1, target)
    assert evaluation.compute() == before
    evaluation.update("image 5", prediction, target)
    assert evaluation.compute()["images"] == 3


def save(path: Path, values: np.ndarray, mode: str = "P") -> None:
    path.parent.mkdir(exist_ok=True)
    image = Image.fromarray(voc_palette()[values] if mode == "RGB" else values)
    if mode == "P":
        image.putpalette(voc_palette().reshape(-1).tolist())
    image.save(path)


@pytest.fixture
def image_set(tmp_path: Path) -> ImageSet:
    """Seven images with random masks; as many predictions in ``predicted``, palette and grey."""
    for seed, name in enumerate(IDS):
        prediction, target = random_pair(seed, classes=21, void=seed > 0)
        save(tmp_path / "masks" / f"{name}.png", target)
        save(tmp_path / "predicted" / f"{name}.png", prediction, "P" if seed % 2 else "L")
    photos, masks = (tuple(tmp_path / kind / f"{name}.png" for name in IDS) for kind in ("photos", "masks"))
    return ImageSet("VOC2012/val", tuple(IDS), photos, masks, VOC_CLASSES, voc_palette())


def test_a_folder_has_the_metrics_of_its_masks(tmp_path: Path, image_set: ImageSet) -> None:
    save(tmp_path / "predicted" / "of another split.png", np.full((2, 2), 77, np.uint8))
    scored, widths = ["background", "cat", "cow"], (1, 3)
    expected = Evaluation(VOC_CLASSES, scored, widths)
    for seed, name in enumerate(IDS):
        expected.update(name, *random_pair(seed, classes=21, void=seed > 0))
    found = score_folder(tmp_path / "predicted", image_set, scored, widths)
    np.testing.assert_equal(found.compute(), expected.compute())
    assert found.images == expected.images


def test_everything_wrong_is_reported_at_once(tmp_path: Path, image_set: ImageSet) -> None:
    folder, zeros = tmp_path / "predicted", np.zeros((11, 14), np.uint8)
    (folder / f"{IDS[0]}.png").unlink()
    save(folder / f"{IDS[1]}.png", zeros[:-1])
    save(folder / f"{IDS[2]}.png", zeros + 255)
    Image.new("RGB", (14, 11), (1, 2, 3)).save(folder / f"{IDS[3]}.png")
    save(folder / f"{IDS[4]}.png", zeros + 21)
    (folder / f"{IDS[5]}.png").write_bytes((folder / f"{IDS[6]}.png").read_bytes()[:60])
    with pytest.raises(UserError) as error:
        score_folder(folder, image_set)
    message = str(error.value)
    for pattern in (
        rf"1 missing.*:\n +{IDS[0]}.png\n",
        rf"1 not of the size of their mask.*:\n +{IDS[1]}.png: 14 x 10 pixels, its mask 14 x 11\n",
        rf"1 with pixels of value 255.*:\n +{IDS[2]}.png\n",
        r"3 not readable as class numbers .*:\n",
        rf"{IDS[3]}.png holds colours \(RGB pixels\)",
        rf"{IDS[4]}.png holds the values 21\.",
        rf"{IDS[5]}.png is truncated",
    ):
        assert re.search(pattern, message), pattern
    assert IDS[6] not in message


def test_predictions_and_truth_in_the_colours_of_the_classes_are_scored_as_their_numbers(
    tmp_path: Path, image_set: ImageSet, caplog: pytest.LogCaptureFixture
) -> None:
    expected = score_folder(tmp_path / "predicted", image_set).compute()
    assert not caplog.messages
    for seed, name in enumerate(IDS):
        prediction, target = random_pair(seed, classes=21, void=seed > 0)
        save(tmp_path / "predicted" / f"{name}.png", prediction, "RGB")
        shown = Image.fromarray(voc_palette()[target])
        shown.quantize(64, dither=Image.Dither.NONE).save(tmp_path / "masks" / f"{name}.png")
    np.testing.assert_equal(score_folder(tmp_path / "predicted", image_set).compute(), expected)
    assert re.search(r"7 masks, such as .* are read by colour\. data\.mask_values=numbers", "".join(caplog.messages))


def test_a_split_without_masks_and_a_missing_folder_are_reported(tmp_path: Path, image_set: ImageSet) -> None:
    with pytest.raises(UserError, match=r"no folder of predicted masks at .*nowhere"):
        score_folder(tmp_path / "nowhere", image_set)
    bare = ImageSet("mine/test", tuple(IDS), image_set.images, None, VOC_CLASSES, voc_palette())
    with pytest.raises(UserError, match="mine/test has no masks"):
        score_folder(tmp_path / "predicted", bare)


def test_a_missing_truth_is_reported_as_such(tmp_path: Path, image_set: ImageSet) -> None:
    (tmp_path / "masks" / f"{IDS[2]}.png").unlink()
    with pytest.raises(UserError, match=rf"no image at .*masks.{IDS[2]}.png"):
        score_folder(tmp_path / "predicted", image_set)
