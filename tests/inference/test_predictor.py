"""The predictor follows its protocol: official by default, with named departures from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import zoom
from torch import Tensor, nn

from secseg.inference.predictor import Predictor, Protocol
from secseg.utils.errors import UserError
from secseg.utils.parallel import Batched, in_parallel
from tests.tiny_network import tiny_network

CLASSES = ("background", "left", "bright")


class Toy(nn.Module):
    """Scores that depend on position and brightness, on a grid eight times coarser."""

    class_names = CLASSES

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(tuple(images.shape))
        grey = images.float().mean(1)[:, ::8, ::8] / 64
        left = torch.linspace(3, 0, grey.shape[2]).expand_as(grey)
        return torch.stack([torch.ones_like(grey), left, grey], 1)


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def predictor(crf: object = None, **settings: object) -> Predictor:
    return Predictor(Toy(), Protocol(**{"input_size": 33, **settings}), crf)  # type: ignore[arg-type]


def test_the_default_is_the_official_protocol_written_with_scipy() -> None:
    image = photo(20, 50)
    squeezed = zoom(image.astype(float), (33 / 20, 33 / 50, 1), order=1)
    squeezed = np.clip(np.floor(squeezed + 0.5), 0, 255)
    scores = Toy()(torch.from_numpy(squeezed.transpose(2, 0, 1))[None])[0].double().numpy()
    probs = np.exp(scores) / np.exp(scores).sum(0)
    expected = zoom(probs, (1, 20 / 5, 50 / 5), order=1)
    one = predictor()
    np.testing.assert_allclose(one.probabilities(image).numpy(), expected, atol=2e-3)  # halves may round apart
    prediction = one(image)
    np.testing.assert_array_equal(prediction.masks["without_crf"], prediction.probs.argmax(0).numpy())
    assert "with_crf" not in prediction.masks
    assert one.network.seen == [(1, 3, 33, 33)] * 2


def test_scales_and_mirror_average_their_passes() -> None:
    image = photo(24, 40)
    parts = [predictor(scales=[scale]).probabilities(image) for scale in (0.5, 1.0, 1.5)]
    torch.testing.assert_close(predictor(scales=[0.5, 1.0, 1.5]).probabilities(image), sum(parts) / 3)
    plain, mirrored = predictor().probabilities(image), predictor().probabilities(image[:, ::-1])
    both = predictor(mirror=True).probabilities(image)
    torch.testing.assert_close(both, (plain + mirrored.flip(-1)) / 2, atol=1e-5, rtol=0)


def test_the_ratio_is_kept_in_an_input_of_the_same_area() -> None:
    one = predictor(keep_ratio=True, input_size=321)
    one.probabilities(photo(100, 400))
    assert one.network.seen == [(1, 3, 161, 641)]  # 321 / 2 and 321 * 2, brought to eights plus one
    one.probabilities(photo(7, 7))
    assert one.network.seen[-1] == (1, 3, 321, 321)


def test_classes_that_are_not_allowed_are_never_predicted_with_and_without_crf() -> None:
    image = photo(30, 30)
    wild = lambda z, _: torch.softmax(torch.randn_like(z), 1)  # noqa: E731
    prediction = predictor(wild)(image, allowed={2})
    assert set(np.unique(prediction.masks["without_crf"])) <= {0, 2}
    assert set(np.unique(prediction.masks["with_crf"])) == {0, 2}
    torch.testing.assert_close(prediction.probs.sum(0), torch.ones(30, 30))
    probs = predictor().probabilities(image)
    restricted = predictor().probabilities(image, allowed={2})
    torch.testing.assert_close(restricted[2], probs[2] / (probs[0] + probs[2]))
    assert set(np.unique(predictor()(image, allowed=()).masks["without_crf"])) == {0}, "no label: all background"


def test_improbable_labels_are_left_out_of_the_crf_only_on_request() -> None:
    seen = []

    def crf(logits: Tensor, image: Tensor) -> Tensor:
        seen.append(logits.shape[1])
        return logits.softmax(1)

    dark = np.zeros((16, 16, 3), np.uint8)
    assert predictor(crf)(dark).probs.shape[0] == 3
    dropped = predictor(crf, drop_labels_below=0.25)(dark)
    assert seen == [3, 2]
    assert float(dropped.probs[2].max()) == 0


def test_a_large_image_is_reduced_and_its_mask_enlarged() -> None:
    image = photo(90, 200)
    prediction = predictor(lambda z, _: z.softmax(1), most_pixels=4500)(image)
    assert prediction.masks["without_crf"].shape == prediction.masks["with_crf"].shape == (90, 200)
    assert prediction.probs.shape == (3, 45, 100)
    np.testing.assert_array_equal(prediction.masks["with_crf"][::2, ::2], prediction.probs.argmax(0).numpy())


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1)])
def test_images_of_one_pixel_or_row_have_masks(size: tuple[int, int]) -> None:
    for settings in ({}, {"keep_ratio": True}):
        assert predictor(**settings)(photo(*size)).masks["without_crf"].shape == size


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"scales": []}, "scales="),
        ({"scales": [0]}, "scales="),
        ({"most_pixels": 0}, "most_pixels=0"),
        ({"drop_labels_below": 1}, "drop_labels_below=1"),
        ({"precision": "bf61"}, "precision=bf61: give one of 32-true, bf16. Did you mean 'bf16'?"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        predictor(**settings)


def test_only_the_network_uses_half_precision() -> None:
    image, network = photo(40, 50), tiny_network()
    plain = Predictor(network, Protocol(input_size=65)).probabilities(image)
    half = Predictor(network, Protocol(input_size=65, precision="bf16")).probabilities(image)
    assert half.dtype == torch.float32
    assert 1e-4 < float((half - plain).abs().max()) < 0.1
    torch.testing.assert_close(half.sum(0), torch.ones(40, 50))


def test_batches_of_several_threads_give_the_masks_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny_network()
    photos = [photo(30 + number, 50, number) for number in range(12)]
    one = Predictor(network, Protocol(input_size=65, mirror=True))
    joined = Predictor(network, Protocol(input_size=65, mirror=True))
    joined._scores = batched = Batched(joined._forward)
    sizes = []
    monkeypatch.setattr(batched, "function", lambda images: (sizes.append(len(images)), joined._forward(images))[1])
    for image, (_, prediction) in zip(photos, in_parallel(joined, photos, workers=4), strict=True):
        assert not isinstance(prediction, Exception)
        torch.testing.assert_close(prediction.probs, one(image).probs, rtol=0, atol=1e-5)
    assert sum(sizes) == 2 * len(photos)


def test_any_colour_mode_reads_as_rgb(tmp_path: Path) -> None:
    from secseg.data.images import read_image

    base = Image.fromarray(photo(9, 12))
    for mode in ("L", "P", "RGBA", "CMYK", "1", "LA", "I;16"):
        path = tmp_path / f"x.{'jpg' if mode == 'CMYK' else 'png'}"
        grey = np.asarray(base.convert("L")).astype(np.uint16)
        (Image.fromarray(257 * grey) if mode == "I;16" else base.convert(mode)).save(path)
        assert read_image(path).shape == (9, 12, 3), mode
