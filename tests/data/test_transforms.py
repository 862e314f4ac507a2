"""Two resizing grids, checked against the libraries that the official code uses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import zoom

from secseg.data.transforms import crf_image, evaluation_input, mirror, training_input
from secseg.utils.resizing import resize_aligned, resize_like_opencv
from tests.reference import caffe


def photo(height: int = 60, width: int = 90) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_aligned_resizing_is_scipys_zoom_of_order_one() -> None:
    image = photo().astype(np.float64)
    expected = zoom(image, (41 / 60, 41 / 90, 1), order=1)
    got = resize_aligned(torch.from_numpy(image.transpose(2, 0, 1))[None], (41, 41))[0].permute(1, 2, 0)
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-6)


# Red, green and blue of each pixel in turn, from OpenCV 5.0.0: cv2.resize(image, (4, 3))
SMALLER = [
    [44, 81, 119, 207, 20, 57, 177, 214, 27, 115, 152, 189],
    [60, 97, 134, 222, 35, 72, 192, 229, 42, 130, 167, 204],
    [74, 111, 149, 87, 50, 87, 207, 95, 57, 145, 182, 113],
]
# Red of each pixel, from OpenCV 5.0.0 with (9, 6)
LARGER = [
    [0, 74, 160, 190, 77, 163, 107, 80, 154],
    [7, 80, 167, 196, 84, 170, 114, 87, 161],
    [14, 88, 175, 204, 91, 178, 121, 94, 168],
    [22, 96, 182, 211, 99, 185, 129, 102, 176],
    [29, 103, 161, 169, 106, 193, 137, 109, 183],
    [36, 110, 82, 26, 113, 199, 143, 116, 190],
]


def test_the_bytes_of_a_resized_training_image_are_opencvs() -> None:
    image = (np.arange(5 * 7 * 3) * 37 % 256).astype(np.uint8).reshape(5, 7, 3)
    assert resize_like_opencv(image, (3, 4)).reshape(3, -1).tolist() == SMALLER
    assert resize_like_opencv(image, (6, 9))[..., 0].tolist() == LARGER


@pytest.mark.parametrize("shape", [(60, 90), (1, 9), (9, 1), (33, 33), (66, 66), (20, 13), (100, 33), (2, 2)])
def test_opencvs_rule_equals_its_plain_version_pixel_by_pixel(shape: tuple[int, int]) -> None:
    image = photo(*shape)
    np.testing.assert_array_equal(resize_like_opencv(image, (33, 33)), caffe.resize(image, (33, 33)))
    np.testing.assert_array_equal(training_input(image, 33), caffe.resize(image, (33, 33)).transpose(2, 0, 1))


def test_the_crf_image_of_321_at_41_is_every_eighth_pixel() -> None:
    image = torch.from_numpy(photo(321, 321).transpose(2, 0, 1).copy())[None]
    assert torch.equal(crf_image(image, (41, 41)), image[:, :, ::8, ::8])


@pytest.mark.parametrize(
    ("side", "grid"), [(641, (41, 41)), (97, (13, 25)), (65, (9, 10)), (33, (1, 33)), (9, (17, 9))]
)
def test_the_crf_image_is_the_resized_one_whether_pixels_are_picked_or_mixed(side: int, grid: tuple[int, int]) -> None:
    image = torch.from_numpy(photo(side, side).transpose(2, 0, 1).copy())[None]
    got = crf_image(image, grid)
    assert torch.equal(got, (resize_aligned(image.double(), grid) + 1e-6).round().byte())
    assert torch.equal(crf_image(image.flip(-1), grid), got.flip(-1))


def test_training_and_evaluation_resize_to_a_square_of_bytes_on_different_grids() -> None:
    train, test = training_input(photo(), 33), evaluation_input(photo(), 33)
    assert train.shape == test.shape == (3, 33, 33)
    assert train.dtype == test.dtype == torch.uint8
    assert not torch.equal(train, test)
    np.testing.assert_array_equal(test[:, 0, 0].numpy(), photo()[0, 0])  # corners are aligned


@pytest.mark.parametrize("make", [training_input, evaluation_input])
def test_the_bytes_do_not_depend_on_the_number_of_threads(make) -> None:
    threads = torch.get_num_threads()
    photos = [photo(height, width) for height, width in ((60, 90), (64, 64), (96, 65), (375, 500))]
    try:
        results = []
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append([make(image, size) for image in photos for size in (33, 65, 128, 321)])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))


def test_mirroring_swaps_left_and_right_only_on_request() -> None:
    x = torch.arange(6).view(1, 2, 3)
    assert mirror(x, True).tolist() == [[[2, 1, 0], [5, 4, 3]]]
    assert torch.equal(mirror(x, False), x)
