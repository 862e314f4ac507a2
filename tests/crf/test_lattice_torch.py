"""The lattice in torch operations against the Numba lattice and pydensecrf, and its use of a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from secseg.crf import CRF, CRFParams, build_crf, lattice_torch
from secseg.crf.lattice_torch import build_lattice, mean_field
from secseg.utils.errors import UserError
from tests.crf import TRAINING, real_images, scores, textured

Official = Callable[..., CRF]
# As in test_lattice: ten iterations enlarge rounding where two classes are close.
AMPLIFIED, AT_FULL_SIZE = 1e-4, 1e-5

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(autouse=True)
def _no_cached_lattice() -> Iterator[None]:
    lattice_torch._gaussian_lattice.cache_clear()
    yield
    lattice_torch._gaussian_lattice.cache_clear()


@pytest.fixture(params=["lattice", "pydensecrf"])
def reference(request: pytest.FixtureRequest, official: Official) -> Callable[[CRFParams], CRF]:
    return official if request.param == "pydensecrf" else lambda params: build_crf("lattice", params)


def assert_equal(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() < tolerance
    assert torch.equal(ours.argmax(1), theirs.argmax(1))


@pytest.mark.parametrize(
    ("size", "params"),
    [
        ((3, 21, 41, 41), TRAINING),
        ((2, 2, 40, 38), TRAINING),
        ((1, 5, 91, 121), CRFParams().scaled(3)),
        ((1, 3, 45, 61), CRFParams(3, 30, 5, 1, 2, iterations=3)),
        ((2, 3, 1, 1), TRAINING),
        ((2, 3, 1, 30), TRAINING),
        ((2, 3, 60, 4), TRAINING),
        ((1, 4, 20, 21), CRFParams(bilateral_weight=0).scaled(12)),
        ((1, 4, 20, 21), CRFParams(gaussian_weight=0).scaled(12)),
        ((1, 2, 20, 30), CRFParams(bilateral_xy=2, bilateral_rgb=0.4, gaussian_xy=0.01)),  # nearly too small
    ],
)
def test_lattice_torch_equals_the_other_lattices_on_textures(
    reference: Callable[[CRFParams], CRF], size: tuple[int, int, int, int], params: CRFParams
) -> None:
    logits, images = textured(size, seed=1)
    assert_equal(mean_field(logits, images, params), reference(params)(logits, images), AMPLIFIED)


def test_lattice_torch_has_the_points_of_the_padding_in_pydensecrf(reference: Callable[[CRFParams], CRF]) -> None:
    """117 pixels leave three of a block of four as padding, whose points matter for a dark image."""
    logits, images = textured((2, 3, 9, 13))
    images //= 8
    params = CRFParams(bilateral_xy=2, bilateral_rgb=13, gaussian_weight=0)
    assert_equal(mean_field(logits, images, params), reference(params)(logits, images), 1e-6)


def test_lattice_torch_equals_the_other_lattices_on_real_images(
    reference: Callable[[CRFParams], CRF], voc_animals: Path
) -> None:
    images = torch.cat([image[..., :150, :201] for image in real_images(voc_animals, 2)])
    logits = scores((2, 7, 150, 201))
    assert_equal(mean_field(logits, images, CRFParams()), reference(CRFParams())(logits, images), AT_FULL_SIZE)


def test_without_kernels_the_result_is_the_softmax() -> None:
    logits, images = textured((2, 3, 8, 9))
    probs = mean_field(logits, images, CRFParams(bilateral_weight=0, gaussian_weight=0))
    torch.testing.assert_close(probs, logits.softmax(1))


def test_images_of_a_batch_do_not_affect_each_other() -> None:
    logits, images = textured((3, 4, 15, 13))
    images[1] = images[0] // 2
    images[2] = images[0]
    alone = [mean_field(*one, TRAINING) for one in zip(logits.split(1), images.split(1), strict=True)]
    torch.testing.assert_close(mean_field(logits, images, TRAINING), torch.cat(alone), rtol=0, atol=1e-6)


@pytest.mark.parametrize("d", [2, 5])
@pytest.mark.parametrize("farthest", [0.0, 0.1, 0.6, 1.0, 3.0])
def test_no_two_lattice_points_share_a_number(farthest: float, d: int) -> None:
    """A larger range of numbers than needed changes nothing."""
    features = torch.rand(2, d, 400, generator=torch.Generator().manual_seed(0))
    features[..., 200:] = features[..., 200:].round()  # the outermost
    needed, spared = (build_lattice(farthest * features, reach) for reach in (farthest, farthest + 20))
    assert torch.equal(needed.slicing.columns, spared.slicing.columns)
    assert all(torch.equal(a.columns, b.columns) for a, b in zip(needed.blurs, spared.blurs, strict=True))


@pytest.mark.parametrize("limit", ["TOGETHER", "NUMBERS"])
def test_groups_of_images_give_the_same(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    logits, images = textured((5, 3, 15, 13))
    whole, solve, groups = mean_field(logits, images, TRAINING), lattice_torch._solve, []
    one = {"TOGETHER": 15 * 13 * 23, "NUMBERS": lattice_torch.numbers(5, 255 / 13)}[limit]
    monkeypatch.setattr(lattice_torch, limit, 2 * one)
    monkeypatch.setattr(lattice_torch, "_solve", lambda *args: groups.append(len(args[0])) or solve(*args))
    torch.testing.assert_close(mean_field(logits, images, TRAINING), whole, rtol=0, atol=1e-6)
    assert groups == [2, 2, 1]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_precisions_are_computed_in_float32(dtype: torch.dtype) -> None:
    logits, images = textured((2, 3, 15, 13), dtype=dtype)
    probs = mean_field(logits, images, TRAINING)
    expected = mean_field(logits.float(), images, TRAINING)
    assert probs.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(probs, expected.to(probs.dtype), rtol=0, atol=0)


def test_autocast_does_not_lower_the_precision() -> None:
    logits, images = textured((1, 5, 12, 10))
    with torch.autocast("cpu", torch.bfloat16):
        probs = mean_field(logits, images, TRAINING)
    torch.testing.assert_close(probs, mean_field(logits, images, TRAINING), rtol=0, atol=0)


def test_the_cached_lattice_follows_size_widths_and_batch() -> None:
    """The cached lattice can be made in inference mode and used outside of it."""
    for size, params in [((2, 3, 5, 6), TRAINING), ((2, 3, 6, 5), TRAINING), ((1, 3, 6, 5), CRFParams())]:
        logits, images = textured(size)
        with torch.inference_mode():
            mean_field(logits, images, params)
        kept = mean_field(logits.requires_grad_(), images, params)
        assert lattice_torch._gaussian_lattice.cache_info().hits > 0
        lattice_torch._gaussian_lattice.cache_clear()
        torch.testing.assert_close(kept, mean_field(logits, images, params), rtol=0, atol=0)
        assert not kept.requires_grad


@pytest.mark.parametrize(
    "params",
    [
        {"bilateral_xy": 1e-9},
        {"bilateral_rgb": 1e-9},
        {"gaussian_xy": 1e-5},
        {"gaussian_xy": 1e-320},
        {"bilateral_rgb": 0.2},  # the coordinates would do, but not their numbers
    ],
)
@pytest.mark.parametrize("size", [(1, 2, 9, 8), (1, 2, 1, 1)])
def test_widths_too_small_for_the_lattice_are_refused(
    params: dict[str, float], size: tuple[int, int, int, int]
) -> None:
    with pytest.raises(UserError, match=r"too small for the lattice.*standard deviations"):
        mean_field(*textured(size), CRFParams(**params))


class _Operations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.devices: set[Any] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.devices.add((kwargs or {}).get("device"))
        return function(*args, **(kwargs or {}))


@pytest.mark.skipif(
    torch.__version__.startswith("2.6.") and not torch.cuda.is_available(),
    reason="torch 2.6 asks the driver even where tensors have no values",
)
def test_only_the_number_of_points_is_copied_to_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fake tensors stand for those of a GPU. They have no values, so that a copy to the host would fail."""
    points = []

    def unique(numbers: torch.Tensor, return_inverse: bool) -> tuple[torch.Tensor, torch.Tensor]:
        points.append(50)
        return numbers.new_empty(50), torch.empty_like(numbers)

    monkeypatch.setattr(torch, "unique", unique)
    with FakeTensorMode():
        logits = torch.empty(2, 3, 9, 11, device="cuda")
        images = torch.empty(2, 3, 9, 11, dtype=torch.uint8, device="cuda")
        for lattices in (2, 1):  # the Gaussian one is cached
            points.clear()
            with _Operations() as seen:
                assert mean_field(logits, images, CRFParams(iterations=2)).device.type == "cuda"
            assert len(points) == lattices
            assert {torch.device(d).type for d in seen.devices if d is not None} == {"cuda"}


@on_gpu
@pytest.mark.parametrize(
    ("size", "params"),
    [((3, 21, 41, 41), TRAINING), ((1, 5, 91, 121), CRFParams().scaled(3)), ((1, 2, 1, 1), TRAINING)],
)
def test_a_gpu_gives_the_result_of_the_cpu(size: tuple[int, int, int, int], params: CRFParams) -> None:
    logits, images = textured(size, seed=1)
    probs = mean_field(logits.cuda(), images.cuda(), params)
    assert probs.device.type == "cuda"
    assert_equal(probs.cpu(), build_crf("lattice", params)(logits, images), AMPLIFIED)


@on_gpu
def test_a_gpu_with_deterministic_algorithms_repeats_its_result_bit_for_bit() -> None:
    logits, images = (x.cuda() for x in textured((3, 21, 41, 41)))
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        results = [mean_field(logits, images, TRAINING) for _ in range(3)]
    finally:
        torch.use_deterministic_algorithms(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@on_gpu
def test_a_gpu_iterates_without_synchronisation() -> None:
    logits, images = (x.cuda() for x in textured((3, 21, 41, 41)))
    mean_field(logits, images, TRAINING)
    lattice = lattice_torch._gaussian_lattice(3, 41, 41, TRAINING.gaussian_xy, logits.device)
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        lattice.filter(logits.permute(0, 2, 3, 1).reshape(-1, 21))
    finally:
        torch.cuda.set_sync_debug_mode(before)
