"""The affinity of all pairs of pixels: the dense matrix, and its approximation on the lattice."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from secseg.crf.affinity import exact_affinity, lattice_affinity
from secseg.losses import build_terms, floor_softmax
from secseg.utils.errors import UserError
from tests.losses.test_terms import example, inputs
from tests.reference import losses as reference


@pytest.fixture
def images() -> torch.Tensor:
    """Two images with an edge and a gradient each, and some noise."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 20, (2, 3, 16, 15), generator=generator, dtype=torch.uint8)
    images[:, 0, 6:] += 90
    return images + torch.arange(15, dtype=torch.uint8) * 4


def test_the_exact_affinity_is_that_of_the_plain_version() -> None:
    image = example()["images"][0]
    identity = torch.eye(35, dtype=torch.float64)[None]
    matrix = exact_affinity(image[None], 3, 20, torch.float64)(identity)[0]
    np.testing.assert_allclose(matrix.numpy(), reference.affinity(image.numpy(), 3, 20), atol=1e-12)


def test_the_lattice_is_in_proportion_to_the_exact_affinity(images: torch.Tensor) -> None:
    """Measured here: a factor of 0.5 with a standard deviation of 10 %."""
    values = torch.rand(2, 3, 240, generator=torch.Generator().manual_seed(1))
    lattice, exact = (make(images, 6, 15, torch.float32)(values) for make in (lattice_affinity, exact_affinity))
    ratio = lattice / exact
    assert 0.3 < ratio.mean() < 0.8
    assert ratio.std() / ratio.mean() < 0.2


def test_the_gradient_of_the_lattice_is_its_transpose(images: torch.Tensor) -> None:
    lattice = lattice_affinity(images, 6, 15, torch.float32)
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(2, 2, 3, 240, generator=generator)
    x.requires_grad_()
    (lattice(x) * y).sum().backward()
    assert x.grad is not None
    # <A x, y> = <x, A' y> for all x and y
    assert (x.grad * x.detach()).sum().item() == pytest.approx((lattice(x.detach()) * y).sum().item(), rel=1e-4)
    moved = (lattice(x.detach() + y) * y).sum() - (lattice(x.detach()) * y).sum()
    assert (x.grad * y).sum().item() == pytest.approx(moved.item(), rel=1e-3)


@pytest.mark.parametrize("name", ["crf_energy", "normalized_cut"])
def test_the_lattice_gives_nearly_the_exact_loss(name: str) -> None:
    batch = example(size=(2, 4, 20, 20))
    terms = [build_terms({name: {"xy": 6, "rgb": 25, "backend": backend}})[name] for backend in ("lattice", "exact")]
    lattice, exact = (term(inputs(batch, batch["scores"])).item() for term in terms)
    assert lattice == pytest.approx(exact, rel=0.1)


def test_one_class_everywhere_costs_nothing() -> None:
    scores = torch.full((1, 3, 8, 8), -20.0, dtype=torch.float64)
    scores[:, 1] = 20
    batch = {**example(size=(1, 3, 8, 8)), "scores": scores}
    term = build_terms({"crf_energy": 1.0})["crf_energy"]
    assert term(inputs(batch, scores)).item() == pytest.approx(0, abs=1e-3)
    assert floor_softmax(scores)[0, 1].min() > 0.999


@pytest.mark.parametrize(
    ("options", "message"), [({"xy": 0}, "xy"), ({"rgb": -1}, "rgb"), ({"backend": "gpu"}, "lattice")]
)
def test_wrong_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_terms({"crf_energy": options})


def test_a_grid_that_is_too_large_for_the_matrix_is_refused() -> None:
    with pytest.raises(UserError, match="Choose the backend lattice"):
        exact_affinity(torch.zeros(1, 3, 82, 81, dtype=torch.uint8), 3, 20, torch.float32)
