"""The results are those of pydensecrf, for the calls that public code makes."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

import secseg.densecrf as ours
from secseg.densecrf import utils
from tests.densecrf import KERNELS, blobs, built

#: Ten iterations enlarge rounding where two labels are close (see tests/crf/test_lattice.py).
TOLERANCE = 1e-4

SNIPPET = """
import numpy as np
import pydensecrf.densecrf as dcrf
from pydensecrf.utils import unary_from_labels, unary_from_softmax

def refine(image, probs, iterations):
    labels, h, w = probs.shape
    d = dcrf.DenseCRF2D(w, h, labels)
    unary = unary_from_softmax(probs)
    unary = np.ascontiguousarray(unary)
    d.setUnaryEnergy(unary)
    d.addPairwiseGaussian(sxy=(3, 3), compat=3, kernel=dcrf.DIAG_KERNEL, normalization=dcrf.NORMALIZE_SYMMETRIC)
    d.addPairwiseBilateral(sxy=(80, 80), srgb=(13, 13, 13), rgbim=image, compat=10,
                           kernel=dcrf.DIAG_KERNEL, normalization=dcrf.NORMALIZE_SYMMETRIC)
    Q = d.inference(iterations)
    return np.argmax(Q, axis=0).reshape((h, w)), np.array(Q).reshape((labels, h, w))

def refine_labels(image, annotation, n_labels):
    d = dcrf.DenseCRF2D(image.shape[1], image.shape[0], n_labels)
    d.setUnaryEnergy(unary_from_labels(annotation, n_labels, gt_prob=0.7, zero_unsure=True))
    d.addPairwiseGaussian(sxy=3, compat=3)
    d.addPairwiseBilateral(sxy=50, srgb=5, rgbim=image, compat=10)
    return np.argmax(d.inference(5), axis=0).reshape(annotation.shape)
"""


def project(source: str) -> dict[str, Any]:
    """Run the source of a project, and return its functions."""
    names: dict[str, Any] = {}
    exec(source, names)
    return names


def changed(source: str) -> str:
    """Change the import lines of a project, as docs/densecrf.md says."""
    lines = {
        "import pydensecrf.densecrf as dcrf": "import secseg.densecrf as dcrf",
        "from pydensecrf.utils import": "from secseg.densecrf.utils import",
    }
    for before, after in lines.items():
        assert before in source
        source = source.replace(before, after)
    return source


def assert_equal(own: np.ndarray, theirs: np.ndarray) -> None:
    assert own.shape == theirs.shape
    assert abs(own - theirs).max() < TOLERANCE
    assert np.array_equal(own.argmax(0), theirs.argmax(0))


def assert_same_as(official: ModuleType, image: np.ndarray, energies: np.ndarray, kernels: Any, niter: Any) -> None:
    """Both packages give the same after ``niter`` iterations."""
    own, theirs = (np.array(built(package, image, energies, kernels).inference(niter)) for package in (ours, official))
    assert_equal(own, theirs)


@pytest.mark.parametrize("iterations", [5, 10])
def test_a_project_that_changes_its_import_lines_gets_the_same(official: ModuleType, iterations: int) -> None:
    image, probs = blobs(37, 50, 21)
    theirs, own = (project(source)["refine"](image, probs, iterations) for source in (SNIPPET, changed(SNIPPET)))
    assert np.array_equal(own[0], theirs[0])
    assert own[0].dtype == theirs[0].dtype
    assert_equal(own[1], theirs[1])


def test_a_project_that_refines_an_annotation_gets_the_same(official: ModuleType) -> None:
    image, probs = blobs(37, 50, 4)
    annotation = probs.argmax(0)  # 0 is unknown
    theirs, own = (project(source)["refine_labels"](image, annotation, 3) for source in (SNIPPET, changed(SNIPPET)))
    assert np.array_equal(own, theirs)


@pytest.mark.parametrize("kernels", KERNELS.values(), ids=KERNELS)
@pytest.mark.parametrize("size", [(30, 43), (1, 1), (1, 7), (5, 1)])
def test_kernels_as_in_public_code_give_the_same(
    official: ModuleType, kernels: list[tuple[Any, ...]], size: tuple[int, int]
) -> None:
    image, probs = blobs(*size, 3)
    energies = utils.unary_from_softmax(probs)
    assert_same_as(official, image, energies, kernels, 5)


def test_several_kernels_of_each_kind_give_the_same_in_any_order(official: ModuleType) -> None:
    image, probs = blobs(30, 43, 3)
    energies = utils.unary_from_softmax(probs)
    kernels = [("bilateral", 67, 3, 4), ("gaussian", 0.2, 1), ("bilateral", 20, 20, 3), ("gaussian", 3, 2)]
    for order in (kernels, kernels[::-1]):
        assert_same_as(official, image, energies, order, 5)


@pytest.mark.parametrize("labels", [1, 2, 8, 21])
def test_any_number_of_labels_gives_the_same(official: ModuleType, labels: int) -> None:
    image, probs = blobs(20, 33, labels)
    energies = utils.unary_from_softmax(probs, scale=0.7)
    assert_same_as(official, image, energies, KERNELS["paper"], 5)


def test_a_large_image_is_split_among_threads_and_gives_the_same(official: ModuleType) -> None:
    image, probs = blobs(256, 260, 2)
    energies = utils.unary_from_softmax(probs)
    crf = built(ours, image, energies, KERNELS["paper"])
    own = crf.inference(2, threads=1)
    assert np.array_equal(own, crf.inference(2, threads=3))
    assert_equal(own, np.array(built(official, image, energies, KERNELS["paper"]).inference(2)))


@pytest.mark.parametrize("niter", [0, -1, True, 1.9, np.int64(2)])
def test_iterations_of_other_types_and_below_one_are_as_in_pydensecrf(official: ModuleType, niter: Any) -> None:
    image, probs = blobs(20, 33, 2)
    energies = utils.unary_from_softmax(probs)
    assert_same_as(official, image, energies, KERNELS["paper"], niter)


def test_without_unary_energies_and_with_infinite_ones_the_results_are_those_of_pydensecrf(
    official: ModuleType,
) -> None:
    image, probs = blobs(20, 33, 3)
    probs[0, :9] = 0
    with np.errstate(divide="ignore"):
        energies = utils.unary_from_softmax(probs, clip=None)
    assert np.isinf(energies).any()
    for package in (ours, official):
        crf = package.DenseCRF2D(2, 2, 4)
        crf.addPairwiseGaussian(3, 3)
        assert np.allclose(np.array(crf.inference(2)), 0.25)
    assert_same_as(official, image, energies, KERNELS["paper"], 5)


def test_the_result_is_a_buffer_as_that_of_pydensecrf(official: ModuleType) -> None:
    image, probs = blobs(20, 33, 3)
    energies = utils.unary_from_softmax(probs)
    own, theirs = (
        memoryview(built(package, image, energies, KERNELS["paper"]).inference(1)) for package in (ours, official)
    )
    for name in ("shape", "strides", "format", "readonly", "itemsize"):
        assert getattr(own, name) == getattr(theirs, name), name


def test_a_result_is_not_changed_by_later_calls_and_a_crf_can_be_used_again() -> None:
    image, probs = blobs(20, 33, 3)
    energies = utils.unary_from_softmax(probs)
    crf = built(ours, image, energies, KERNELS["paper"])
    first = crf.inference(3)
    kept = first.copy()
    image[:], energies[:] = 0, 0  # both were copied
    assert np.array_equal(crf.inference(3), kept)
    assert np.array_equal(first, kept)
    assert not np.array_equal(crf.inference(0), kept)


def test_the_kernel_constants_do_not_change_the_result_in_pydensecrf_and_are_accepted(official: ModuleType) -> None:
    image, probs = blobs(20, 33, 3)
    energies = utils.unary_from_softmax(probs)
    for package in (ours, official):
        results = []
        for kernel in (package.CONST_KERNEL, package.DIAG_KERNEL, package.FULL_KERNEL):
            crf = built(package, image, energies, [])
            crf.addPairwiseGaussian(3, 3, kernel)
            crf.addPairwiseBilateral(20, 13, image, 10, kernel=kernel)
            results.append(np.array(crf.inference(4)))
        assert np.array_equal(results[0], results[1])
        assert np.array_equal(results[1], results[2])


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_batch_gives_the_results_of_each_image_alone_on_any_number_of_threads(threads: int) -> None:
    crfs = []
    for seed, size in enumerate([(20, 33), (41, 41), (7, 9), (20, 33), (1, 1), (30, 12)]):
        image, probs = blobs(*size, 3, seed)
        crfs.append(built(ours, image, utils.unary_from_softmax(probs), KERNELS["paper"]))
    results = ours.inference_batch((crf for crf in crfs), 5, threads)
    assert len(results) == len(crfs)
    assert all(np.array_equal(result, crf.inference(5)) for result, crf in zip(results, crfs, strict=True))


def test_a_batch_raises_the_error_of_an_image() -> None:
    with pytest.raises(TypeError, match="niter"):
        ours.inference_batch([ours.DenseCRF2D(2, 2, 2)], "5")  # type: ignore[arg-type]
    assert ours.inference_batch([], 5) == []
