"""Claims about every term of the table, and about a term from another package."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from secseg.losses import Decay, LossInputs, Term, build_terms, floor_softmax, global_weighted_rank_pooling
from secseg.losses.terms import TERMS, needed
from secseg.utils.config import using_plugins
from secseg.utils.errors import UserError
from tests.reference import losses as reference

PAPER = Decay(pos=0.996, neg=0.0, bg=0.999)
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
REFERENCE: dict[str, Callable[..., float]] = {
    "seed": lambda f, batch: reference.seed(f, batch["cues"]),
    "expand": lambda f, batch: reference.expand(f, batch["labels"], *PAPER),
    "constrain": lambda f, batch: reference.constrain(f, batch["q"]),
    "supervised": lambda f, batch: reference.supervised(f, batch["mask"]),
    "balanced_seed": lambda f, batch: reference.balanced_seed(f, batch["cues"]),
    "crf_energy": lambda f, batch: reference.crf_energy(f, batch["images"], 16, 15),
    "normalized_cut": lambda f, batch: reference.normalized_cut(f, batch["images"], 16, 15),
}
"""The plain NumPy version of each term. Arguments: probabilities (B, C, H, W) and the batch."""
OPTIONS = {name: {"weight": 1.0, "backend": "exact"} for name in ("crf_energy", "normalized_cut")}
"""The node of a term that has options. The lattice is an approximation, in float32."""


def example(seed: int = 0, size: tuple[int, int, int, int] = (3, 6, 7, 5)) -> dict[str, Tensor]:
    """Scores, cues (at most one class a pixel), labels, masks with void and CRF-like probabilities of a small batch.

    The last image has no cue, no label and no pixel that is not void.
    """
    generator = torch.Generator().manual_seed(seed)
    batch, classes, height, width = size
    scores = 3 * torch.randn(size, generator=generator, dtype=torch.float64)
    chosen = torch.randint(-classes, classes, (batch, height, width), generator=generator)
    chosen[-1] = -1
    cues = torch.stack([chosen == c for c in range(classes)], 1)
    labels = cues.flatten(2).any(2).double()
    labels[:, 2] = 0
    q = torch.softmax(4 * torch.randn(size, generator=generator, dtype=torch.float64), 1)
    images = torch.randint(0, 60, (batch, 3, height, width), generator=generator, dtype=torch.uint8)
    mask = torch.where(chosen < 0, 255, chosen)
    return {"scores": scores, "cues": cues, "labels": labels, "mask": mask, "q": q, "images": images}


def inputs(batch: dict[str, Tensor], scores: Tensor) -> LossInputs:
    q = batch["q"].to(scores.dtype)
    given = (batch[key] for key in ("images", "cues", "labels", "mask"))
    return LossInputs(scores, *given, PAPER, global_weighted_rank_pooling, lambda *_: q)


@pytest.fixture(params=TERMS)
def term(request: pytest.FixtureRequest) -> tuple[str, Term]:
    """Each term of the table, by name."""
    return request.param, build_terms({request.param: OPTIONS.get(request.param, 1.0)})[request.param]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("seed", range(3))
def test_a_term_equals_its_plain_numpy_version(term: tuple[str, Term], dtype: torch.dtype, seed: int) -> None:
    batch = example(seed)
    f = reference.probabilities(batch["scores"].numpy())
    np.testing.assert_allclose(floor_softmax(batch["scores"].to(dtype)).numpy(), f, atol=TOLERANCE[dtype])
    got = term[1](inputs(batch, batch["scores"].to(dtype)))
    assert got.shape == ()
    expected = REFERENCE[term[0]](f, {key: value.numpy() for key, value in batch.items()})
    assert got.item() == pytest.approx(expected, abs=TOLERANCE[dtype])


def test_the_gradient_of_a_term_is_that_of_finite_differences(term: tuple[str, Term]) -> None:
    batch = example(size=(2, 4, 3, 3))
    assert torch.autograd.gradcheck(lambda z: term[1](inputs(batch, z)), batch["scores"].requires_grad_())


def test_a_term_is_the_mean_over_the_images_of_the_batch(term: tuple[str, Term]) -> None:
    batch = example()
    images = [{key: value[at : at + 1] for key, value in batch.items()} for at in range(3)]
    alone = [term[1](inputs(image, image["scores"])).item() for image in images]
    assert term[1](inputs(batch, batch["scores"])).item() == pytest.approx(np.mean(alone))


@pytest.mark.parametrize("case", ["nothing", "background alone", "every class"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_degenerate_images_and_extreme_scores_give_a_finite_term_and_gradient(
    term: tuple[str, Term], case: str, dtype: torch.dtype, scale: float
) -> None:
    """For such images the official formulas divide by zero."""
    batch = example(size=(2, 5, 4, 4))
    known = torch.full_like(batch["cues"], case == "every class")
    known[:, 0, 0, 0] |= case == "background alone"
    batch |= {"cues": known, "labels": known.flatten(2).any(2).double()}
    batch["mask"] = torch.where(known.any(1), known.int().argmax(1), 255)
    scores = (scale * batch["scores"] / 3).to(dtype).requires_grad_()
    value = term[1](inputs(batch, scores))
    value.backward()
    assert torch.isfinite(value)
    assert value.dtype == torch.float32
    assert torch.isfinite(scores.grad).all()


def test_a_compiled_term_has_the_same_value(term: tuple[str, Term]) -> None:
    batch = example()
    compiled = torch.compile(lambda z: term[1](inputs(batch, z)), backend="eager")
    assert compiled(batch["scores"]).item() == pytest.approx(term[1](inputs(batch, batch["scores"])).item())


def test_each_term_has_its_own_colour_and_needs_what_training_can_give() -> None:
    terms = build_terms(dict.fromkeys(TERMS, 1.0))
    assert len({term.color for term in terms.values()}) == len(TERMS)
    assert needed(terms.values()) == {"cues", "labels", "crf", "mask"}
    assert needed(build_terms({"seed": 1.0}).values()) == {"cues"}


class SizeTerm(Term):
    """A term as another package would define it."""

    needs = ("labels",)
    color = "tab:pink"

    def __init__(self, power: float) -> None:
        self.power = power

    def __call__(self, inputs: LossInputs) -> Tensor:
        return (inputs.probs[:, 1:] ** self.power).mean()


NODE = {"_target_": "tests.losses.test_terms.SizeTerm", "power": 2.0}


def test_a_term_of_another_package_is_built_with_its_weight_and_options() -> None:
    with using_plugins("tests"):
        terms = build_terms({"size": {**NODE, "weight": 0.1}, "again": NODE, "off": {**NODE, "weight": 0}})
    assert {name: (term.weight, vars(term)["power"]) for name, term in terms.items()} == {
        "size": (0.1, 2.0),
        "again": (1.0, 2.0),
    }
    assert isinstance(terms["size"], SizeTerm)
    assert needed(terms.values()) == {"labels"}


def test_a_term_that_needs_what_training_cannot_give_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SizeTerm, "needs", ("depth",))
    with using_plugins("tests"), pytest.raises(UserError, match=r"loss\.size needs depth: .* cues, labels, mask, crf"):
        build_terms({"size": NODE})


@pytest.mark.parametrize("name", ["sed", "loss"])
def test_an_unknown_term_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(UserError, match=rf"loss\.{name} .* seed, expand, constrain, supervised.*_target_") as error:
        build_terms({"seed": 1.0, name: 1.0})
    assert ("Did you mean 'seed'" in str(error.value)) == (name == "sed")


@pytest.mark.parametrize("loss", [{}, {"seed": 0, "expand": 0.0}])
def test_a_loss_without_any_term_is_refused(loss: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"Every term .* weight 0"):
        build_terms(loss)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            {"xyz": 4},
            r"loss\.crf_energy\.xyz is no option of the term: .* weight, warmup, xy, rgb, backend",
        ),
        ({"xy": -4}, r"loss\.crf_energy: xy=-4: give a number above 0"),
        ({"backend": "lattic"}, r"loss\.crf_energy: backend=lattic: give one of lattice, exact"),
    ],
)
def test_a_wrong_option_of_a_term_is_reported_with_its_key(option: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_terms({"crf_energy": {"weight": 1, **option}})
