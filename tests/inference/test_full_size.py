"""Scores to masks at the image's own size."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import zoom
from scipy.special import softmax

from secseg.inference.full_size import FLOOR, apply_crf, crf_classes, full_size_probs, predict_mask, predict_masks


def test_probabilities_not_scores_are_enlarged_with_aligned_corners() -> None:
    scores = np.random.default_rng(0).normal(0, 3, (4, 5, 6))
    expected = zoom(softmax(scores, 0), (1, 20 / 5, 33 / 6), order=1)
    got = full_size_probs(torch.from_numpy(scores), (20, 33))
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-5)


def test_the_crf_gets_floored_log_probabilities_and_the_image() -> None:
    seen = {}

    def crf(logits, image):
        seen.update(logits=logits, image=image)
        return logits.softmax(1)

    probs = torch.tensor([1.0, 0.0]).view(2, 1, 1).expand(2, 3, 4)
    photo = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    apply_crf(probs, photo, crf)
    np.testing.assert_allclose(seen["logits"][0, 1].numpy(), np.log(FLOOR), rtol=1e-6)
    np.testing.assert_array_equal(seen["image"][0].permute(1, 2, 0).numpy(), photo)


def test_each_image_gets_masks_of_its_own_size_in_order() -> None:
    logits = torch.zeros(2, 3, 4, 4)
    logits[0, 1] = logits[1, 2] = 5
    photos = [np.zeros((8, 11, 3), np.uint8), np.zeros((13, 6, 3), np.uint8)]
    for crf in (None, lambda z, _: z.flip(1).softmax(1)):
        (first, first_crf), (second, second_crf) = predict_masks(logits, photos, crf)
        assert first.shape == (8, 11)
        assert second.shape == (13, 6)
        assert set(np.unique(first)) == {1}
        assert set(np.unique(second)) == {2}
        assert (first_crf is None) == (second_crf is None) == (crf is None)
        if crf is not None:
            assert set(np.unique(second_crf)) == {0}


def test_a_mask_holds_the_first_of_the_most_probable_classes() -> None:
    probs = torch.randint(0, 4, (7, 40, 50), generator=torch.Generator().manual_seed(0)) / 4
    np.testing.assert_array_equal(predict_mask(probs), probs.numpy().argmax(0))


def test_crf_classes_are_allowed_and_somewhere_probable() -> None:
    probs = torch.zeros(4, 3, 3)
    probs[0], probs[1, 0, 0], probs[2, 2, 2], probs[3, 1, 1] = 0.5, 0.3, 0.1, 0.3
    allowed = torch.tensor([True, True, True, False])
    assert crf_classes(probs).tolist() == [0, 1, 2, 3]
    assert crf_classes(probs, allowed).tolist() == [0, 1, 2]
    assert crf_classes(probs, None, 0.2).tolist() == [0, 1, 3]
    assert crf_classes(probs, allowed, 0.2).tolist() == [0, 1]
    assert crf_classes(probs, allowed, 0.6).tolist() == [0], "the background is always there"
