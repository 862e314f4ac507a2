"""What pydensecrf refuses is refused with the same type of exception, and what is not supported says so."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import secseg.densecrf as ours
from secseg.densecrf import utils
from tests.densecrf import blobs

HEIGHT, WIDTH, LABELS = 4, 5, 3
IMAGE = blobs(HEIGHT, WIDTH, LABELS)[0]
ENERGIES = np.ones((LABELS, HEIGHT * WIDTH), np.float32)


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


UNARIES = {
    "float64": ENERGIES.astype(float),
    "float16": ENERGIES.astype(np.float16),
    "int": ENERGIES.astype(np.int32),
    "bool": ENERGIES > 0,
    "big endian": ENERGIES.astype(">f4"),
    "Fortran order": np.asfortranarray(ENERGIES),
    "slice": np.repeat(ENERGIES, 2, 1)[:, ::2],
    "read-only": read_only(ENERGIES),
    "transposed": ENERGIES.T.copy(),
    "too few pixels": ENERGIES[:, :-1].copy(),
    "three dimensions": ENERGIES.reshape(LABELS, HEIGHT, WIDTH),
    "one dimension": ENERGIES.ravel(),
    "list": ENERGIES.tolist(),
    "None": None,
    "memoryview": memoryview(ENERGIES),
    "array": ENERGIES,
}
IMAGES = {
    "float32": IMAGE.astype(np.float32),
    "int8": IMAGE.view(np.int8),
    "bool": IMAGE > 9,
    "Fortran order": np.asfortranarray(IMAGE),
    "mirrored": IMAGE[:, ::-1],
    "BGR": IMAGE[..., ::-1],
    "every second row": np.repeat(IMAGE, 2, 0)[::2],
    "read-only": read_only(IMAGE),
    "width first": IMAGE.transpose(1, 0, 2).copy(),
    "channels first": IMAGE.transpose(2, 0, 1).copy(),
    "grey": IMAGE[..., 0].copy(),
    "one channel": IMAGE[..., :1].copy(),
    "four channels": np.zeros((HEIGHT, WIDTH, 4), np.uint8),
    "list": IMAGE.tolist(),
    "None": None,
    "memoryview": memoryview(IMAGE),
    "array": IMAGE,
}


def raised(call: Callable[[], Any]) -> type[Exception] | None:
    """Return the type of exception that a call raises."""
    try:
        call()
    except Exception as error:
        return type(error)
    return None


def small(package: ModuleType) -> Any:
    return package.DenseCRF2D(WIDTH, HEIGHT, LABELS)


@pytest.mark.parametrize("u", UNARIES.values(), ids=UNARIES)
def test_unary_energies_are_refused_as_in_pydensecrf(official: ModuleType, u: Any) -> None:
    theirs, own = (raised(lambda package=package: small(package).setUnaryEnergy(u)) for package in (official, ours))
    assert own is theirs


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
def test_images_are_refused_as_in_pydensecrf(official: ModuleType, image: Any) -> None:
    theirs, own = (
        raised(lambda package=package: small(package).addPairwiseBilateral(80, 13, image, 10))
        for package in (official, ours)
    )
    assert own is theirs


@pytest.mark.parametrize(
    "settings",
    [
        *({"sxy": sxy} for sxy in ((3,), (3, 3, 3), [3, 3], np.array([3.0, 3.0]), "33", None, np.float32(3), 1j, True)),
        *({"compat": compat} for compat in (None, [1, 2, 3], "3", np.array(3.0), np.float32(3), 0, 1j, True)),
        {"compat": np.ones((3, 3, 3), np.float32)},
        *({"kernel": kernel} for kernel in (0, 1, 2, "x", None)),
        *({"normalization": normalization} for normalization in (3, "x", None)),
    ],
    ids=str,
)
def test_settings_of_a_kernel_are_refused_as_in_pydensecrf(official: ModuleType, settings: dict[str, Any]) -> None:
    theirs, own = (
        raised(lambda package=package: small(package).addPairwiseGaussian(**{"sxy": 3, "compat": 3, **settings}))
        for package in (official, ours)
    )
    assert own is theirs


@pytest.mark.parametrize("sizes", [(5, 4, 3), (5.0, 4, 3), (np.int64(5), np.uint8(4), True), ("5", 4, 3), (None, 4, 3)])
def test_sizes_are_refused_as_in_pydensecrf(official: ModuleType, sizes: tuple[Any, ...]) -> None:
    theirs, own = (raised(lambda package=package: package.DenseCRF2D(*sizes)) for package in (official, ours))
    assert own is theirs


def test_the_constants_have_the_names_and_numbers_of_pydensecrf(official: ModuleType) -> None:
    names = {name for name in dir(official) if not name.startswith("_")} - {"Number", "eigen"}
    assert names <= set(dir(ours))
    assert names == set(ours.__all__) - {"inference_batch"}
    for name in names:
        if isinstance(getattr(official, name), int):
            assert getattr(ours, name) == getattr(official, name)


UNSUPPORTED: dict[str, tuple[Callable[[], Any], str]] = {
    "DenseCRF": (lambda: ours.DenseCRF(20, 3), "DenseCRF2D"),
    "more than 512 labels": (lambda: ours.DenseCRF2D(5, 4, 513), "pydensecrf"),
    "ConstUnary": (lambda: ours.ConstUnary(ENERGIES), "setUnaryEnergy"),
    "LogisticUnary": (lambda: ours.LogisticUnary(ENERGIES, ENERGIES), "setUnaryEnergy"),
    "setUnary": (lambda: small(ours).setUnary(None), "setUnaryEnergy"),
    "features f": (lambda: small(ours).setUnaryEnergy(ENERGIES, ENERGIES), "product"),
    "addPairwiseEnergy": (lambda: small(ours).addPairwiseEnergy(ENERGIES, 3), "addPairwiseGaussian"),
    "startInference": (lambda: small(ours).startInference(), r"inference\(n\)"),
    "stepInference": (lambda: small(ours).stepInference(1, 2, 3), r"inference\(n\)"),
    "klDivergence": (lambda: small(ours).klDivergence(1), "pydensecrf"),
    "NORMALIZE_BEFORE": (
        lambda: small(ours).addPairwiseGaussian(3, 3, normalization=ours.NORMALIZE_BEFORE),
        "NORMALIZE_SYMMETRIC",
    ),
    "NO_NORMALIZATION": (
        lambda: small(ours).addPairwiseBilateral(3, 3, IMAGE, 3, normalization=ours.NO_NORMALIZATION),
        "NORMALIZE_SYMMETRIC",
    ),
    "normalization=7": (lambda: small(ours).addPairwiseGaussian(3, 3, normalization=7), "NORMALIZE_SYMMETRIC"),
    "kernel=7": (lambda: small(ours).addPairwiseGaussian(3, 3, kernel=7), "DIAG_KERNEL"),
    "sxy=": (lambda: small(ours).addPairwiseGaussian((3, 4), 3), "one number"),
    "srgb=": (lambda: small(ours).addPairwiseBilateral(3, (5, 5, 6), IMAGE, 3), "one number"),
    "a negative compat": (lambda: small(ours).addPairwiseGaussian(3, -3), "at least 0"),
    "vector": (lambda: small(ours).addPairwiseGaussian(3, np.ones(3, np.float32)), "one number"),
    "matrix": (lambda: small(ours).addPairwiseBilateral(3, 3, IMAGE, np.eye(3, dtype=np.float32)), "one number"),
    "compute_unary": (lambda: utils.compute_unary(IMAGE, 3), "unary_from_labels"),
    "softmax_to_unary": (lambda: utils.softmax_to_unary(ENERGIES), "unary_from_softmax"),
    "create_pairwise_gaussian": (lambda: utils.create_pairwise_gaussian((3, 3), (4, 5)), "addPairwiseGaussian"),
    "create_pairwise_bilateral": (
        lambda: utils.create_pairwise_bilateral((3, 3), (3,), IMAGE, 2),
        "addPairwiseBilateral",
    ),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_not_supported_is_named_with_a_remedy(name: str) -> None:
    call, remedy = UNSUPPORTED[name]
    with pytest.raises(NotImplementedError, match=rf"does not support.*{name}.*{remedy}"):
        call()


def test_a_batch_of_something_else_is_refused() -> None:
    with pytest.raises(TypeError, match=r"inference_batch: give DenseCRF2D objects, not int"):
        ours.inference_batch([small(ours), 3], 1)  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ours.DenseCRF2D(0, 4, 3), "w=0"),
        (lambda: ours.DenseCRF2D(5, -1, 3), "h=-1"),
        (lambda: ours.DenseCRF2D(5, 4, 0), "nlabels=0"),
        (lambda: small(ours).addPairwiseGaussian(0, 3), "sxy=0"),
        (lambda: small(ours).addPairwiseGaussian(np.nan, 3), "sxy=nan"),
        (lambda: small(ours).addPairwiseBilateral(3, -1, IMAGE, 3), "srgb=-1"),
        (lambda: small(ours).addPairwiseBilateral(3, 1e-3, IMAGE, 3), "srgb is too small"),
        (lambda: small(ours).addPairwiseGaussian(1e-6, 3), "sxy is too small"),
        (lambda: small(ours).inference(3, threads=0), "threads=0"),
    ],
)
def test_what_pydensecrf_does_not_check_raises_a_value_error(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
