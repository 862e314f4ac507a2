"""Parameters, the choice of a backend, and what all backends have in common."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

import secseg
from secseg.crf import BACKENDS, CRFParams, build_crf, build_stage_crf
from secseg.utils.config import config_dir, to_plain
from secseg.utils.errors import UserError
from tests.conftest import REPOSITORY
from tests.crf import TRAINING, textured

PAPER = {
    "bilateral_weight": 10,
    "bilateral_xy": 80,
    "bilateral_rgb": 13,
    "gaussian_weight": 3,
    "gaussian_xy": 3,
    "iterations": 10,
}


@pytest.fixture(params=sorted({*BACKENDS} - {"par"}))  # which is no mean field: test_par.py
def build(request: pytest.FixtureRequest):
    """Build a backend, for each of the backends."""
    if request.param == "pydensecrf":
        return request.getfixturevalue("official")
    return lambda params, gradient="stop": build_crf(request.param, params, gradient)


def test_defaults_are_the_paper_s_at_test_time() -> None:
    assert dataclasses.asdict(CRFParams()) == PAPER


def test_scaled_divides_the_spatial_widths_only() -> None:
    assert CRFParams().scaled(12) == CRFParams(10, 80 / 12, 13, 3, 3 / 12, 10)


def test_all_parameters_out_of_range_are_listed() -> None:
    with pytest.raises(UserError) as caught:
        CRFParams(-1, 0, float("nan"), "3", True, 2.5)  # type: ignore[arg-type]
    for name in PAPER:
        assert f"{name}=" in str(caught.value)


@pytest.mark.parametrize("iterations", [0, -1, 1.0, True, None])
def test_iterations_are_a_whole_number(iterations: object) -> None:
    with pytest.raises(UserError, match="iterations"):
        CRFParams(iterations=iterations)  # type: ignore[arg-type]


@pytest.mark.parametrize("factor", [0, -12, float("inf"), "12"])
def test_an_invalid_scale_is_refused(factor: object) -> None:
    with pytest.raises(UserError, match="scale"):
        CRFParams().scaled(factor)  # type: ignore[arg-type]


def test_an_unknown_backend_is_refused_with_the_valid_ones() -> None:
    with pytest.raises(UserError, match=r"exact, lattice, pydensecrf.*Did you mean 'lattice'"):
        build_crf("latice", CRFParams())


@pytest.mark.parametrize("backend", ["lattice", "pydensecrf"])
def test_the_lattices_refuse_the_exact_gradient(backend: str) -> None:
    with pytest.raises(UserError, match=r"no gradient 'exact'.*stop, diagonal, or the backend exact"):
        build_crf(backend, CRFParams(), "exact")


def test_an_unknown_gradient_is_refused_with_the_valid_ones() -> None:
    with pytest.raises(UserError, match=r"stop, diagonal, exact.*Did you mean 'diagonal'"):
        build_crf("exact", CRFParams(), "diagonl")


def test_the_error_for_a_missing_pydensecrf_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    monkeypatch.delitem(sys.modules, "secseg.crf.pydensecrf", raising=False)
    with pytest.raises(UserError, match=r"pip install 'secseg\[pydensecrf\]'"):
        build_crf("pydensecrf", CRFParams())


def test_a_batch_gives_the_same_as_its_images_one_by_one(build) -> None:
    logits, images = textured((4, 5, 17, 14))
    crf = build(TRAINING)
    whole = crf(logits, images)
    single = torch.cat([crf(z, image) for z, image in zip(logits.split(1), images.split(1), strict=True)])
    torch.testing.assert_close(whole, single, atol=1e-5, rtol=0)
    torch.testing.assert_close(whole.sum(1), torch.ones(4, 17, 14))


@pytest.mark.parametrize(
    "size", [(1, 3, 1, 1), (2, 3, 1, 9), (2, 3, 9, 1), (1, 1, 6, 5), (2, 1, 1, 1), (1, 2, 2, 2), (1, 255, 4, 3)]
)
@pytest.mark.parametrize("colour", [0, 255, None])
def test_degenerate_grids_give_probabilities(build, size: tuple[int, int, int, int], colour: int | None) -> None:
    logits, images = textured(size)
    if colour is not None:
        images.fill_(colour)
    probs = build(CRFParams())(logits, images)
    assert probs.shape == logits.shape
    assert probs.dtype == torch.float32
    torch.testing.assert_close(probs.sum(1), torch.ones(size[0], *size[2:]))


def test_uniform_scores_stay_uniform(build) -> None:
    _, images = textured((1, 4, 12, 9))
    probs = build(TRAINING)(torch.full((1, 4, 12, 9), 7.0), images)
    torch.testing.assert_close(probs, torch.full((1, 4, 12, 9), 0.25))


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_huge_scores_stay_finite(build, size: float) -> None:
    logits, images = textured((1, 4, 12, 9))
    probs = build(TRAINING)(logits * size, images)
    assert probs.isfinite().all()
    torch.testing.assert_close(probs.argmax(1), logits.argmax(1))  # they outweigh all neighbours


def test_a_constant_added_to_the_scores_of_a_pixel_changes_nothing(build) -> None:
    logits, images = textured((1, 4, 12, 9))
    crf = build(TRAINING)
    torch.testing.assert_close(crf(logits + 3, images), crf(logits, images), atol=1e-5, rtol=0)


def test_the_result_is_not_floored(build) -> None:
    logits, images = textured((1, 4, 12, 9))
    assert build(TRAINING)(logits * 5, images).min() < 1e-6


def test_the_input_is_not_modified(build) -> None:
    logits, images = textured((2, 4, 12, 9))
    before = logits.clone(), images.clone()
    build(TRAINING)(logits, images)
    assert torch.equal(logits, before[0])
    assert torch.equal(images, before[1])


def test_strides_do_not_matter(build) -> None:
    logits, images = textured((2, 4, 12, 9))
    crf = build(TRAINING)
    strided = crf(logits.mT.contiguous().mT, images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(strided, crf(logits, images), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(build, dtype: torch.dtype) -> None:
    logits, images = textured((1, 4, 12, 9), dtype=dtype)
    crf = build(TRAINING, "diagonal")
    probs = crf(logits.requires_grad_(), images)
    assert probs.dtype == torch.float32
    torch.testing.assert_close(probs.detach(), crf(logits.detach().float(), images))
    probs.square().sum().backward()
    assert logits.grad.dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_precision_of_the_scores_is_kept(build, dtype: torch.dtype) -> None:
    logits, images = textured((1, 4, 6, 5), dtype=dtype)
    assert build(TRAINING)(logits, images).dtype == dtype


@pytest.mark.parametrize(
    ("logits", "images", "said"),
    [
        (torch.zeros(3, 4, 5), torch.zeros(1, 3, 4, 5, dtype=torch.uint8), r"logits must be \(B, C, H, W\)"),
        (torch.zeros(1, 3, 4, 5).long(), torch.zeros(1, 3, 4, 5, dtype=torch.uint8), "floating point"),
        (torch.zeros(0, 3, 4, 5), torch.zeros(0, 3, 4, 5, dtype=torch.uint8), "no side 0"),
        (torch.zeros(2, 3, 4, 5), torch.zeros(1, 3, 4, 5, dtype=torch.uint8), r"images must be \(2, 3, 4, 5\)"),
        (torch.zeros(1, 3, 4, 5), torch.zeros(1, 4, 5, 3, dtype=torch.uint8), r"images must be \(1, 3, 4, 5\)"),
        (torch.zeros(1, 3, 4, 5), torch.zeros(1, 3, 5, 4, dtype=torch.uint8), r"images must be \(1, 3, 4, 5\)"),
        (torch.zeros(1, 3, 4, 5), torch.zeros(1, 3, 4, 5), "images must be uint8"),
        (torch.zeros(1, 3, 4, 5), torch.zeros(1, 3, 4, 5, dtype=torch.uint8, device="meta"), "on one device"),
    ],
)
def test_invalid_input_is_refused(build, logits: torch.Tensor, images: torch.Tensor, said: str) -> None:
    with pytest.raises(UserError, match=said):
        build(CRFParams())(logits, images)


class Blend:
    """A CRF of a user: the softmax of the scores times ``strength``."""

    def __init__(self, params: CRFParams, gradient: str, strength: float) -> None:
        self.params, self.gradient, self.strength = params, gradient, strength

    def __call__(self, logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        return (self.strength * logits).softmax(1)


STAGE = {
    "backend": None,
    "gradient": "diagonal",
    "scale": 12,
    "channels": "rgb",
    **PAPER,
    "_target_": "secseg.Blend",
    "strength": 0.5,
}


def test_a_crf_of_a_user_gets_the_scaled_kernels_the_gradient_and_its_own_options(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(secseg, "Blend", Blend, raising=False)
    crf = build_stage_crf(STAGE)
    assert isinstance(crf, Blend)
    assert (crf.params, crf.gradient, crf.strength) == (TRAINING, "diagonal", 0.5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"backend": "lattice"}, "replaces the backend lattice: give backend=null"),
        ({"_target_": "secseg.nowhere.CRF"}, "cannot be found"),
        ({"_target_": "secseg.crf.CRFParams"}, "is no CRF"),
        ({"strenght": 1}, "strenght=1"),
    ],
)
def test_a_crf_of_a_user_that_cannot_be_built_is_refused(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, object], message: str
) -> None:
    monkeypatch.setattr(secseg, "Blend", Blend, raising=False)
    with pytest.raises(UserError, match=message):
        build_stage_crf({**STAGE, **changed})


def test_an_unknown_setting_of_a_backend_is_refused() -> None:
    with pytest.raises(UserError, match="'lattice' has no setting strength"):
        build_stage_crf({"backend": "lattice", "channels": "rgb", "scale": 1, "strength": 2})


@pytest.mark.parametrize(
    ("name", "train", "test"),
    [
        ("exact_training", "exact", "lattice"),
        ("paper", "lattice", "lattice"),
        ("pydensecrf", "pydensecrf", "pydensecrf"),
        ("train_only", "lattice", "none"),
        ("test_only", "none", "lattice"),
        ("off", "none", "none"),
        ("relative", "lattice", "lattice"),
        ("objects", "lattice", "lattice"),
        ("par", "par", "par"),
    ],
)
def test_every_option_has_the_widths_of_the_paper(name: str, train: str, test: str) -> None:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        config = to_plain(compose("train", ["run_dir=.", f"crf={name}"]))["crf"]
    assert config["train"] == {
        "backend": train,
        "gradient": "stop",
        "channels": "bgr",
        "unary": "scores",
        "scale": 12,
        **PAPER,
    }
    assert config["test"].pop("widths_at") == (500 if name == "relative" else "auto")
    assert config["test"].pop("widths_from") == (0.4 if name == "objects" else "auto")
    assert config["test"].pop("bilateral_weight") == "auto", "10, or as trained"
    others = {key: value for key, value in PAPER.items() if key != "bilateral_weight"}
    assert config["test"] == {"backend": test, "gradient": "stop", "channels": "rgb", "scale": 1, **others}


def test_the_training_crf_gets_the_colours_in_the_order_of_the_official_layer() -> None:
    logits, images = textured((2, 5, 41, 41))
    stage = {"backend": "lattice", "gradient": "stop", "scale": 12, **PAPER}
    rgb, bgr = (build_stage_crf({**stage, "channels": order}) for order in ("rgb", "bgr"))
    assert rgb is not None
    assert bgr is not None
    assert torch.equal(bgr(logits, images), rgb(logits, images.flip(1)))
    assert not torch.equal(bgr(logits, images), rgb(logits, images)), "the lattice is not symmetric in its features"


def numba_cache(**environment: str) -> str:
    """Return the folder in which a new process caches what Numba compiles."""
    usual = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    usual["PYTHONPATH"] = str(REPOSITORY / "src")
    command = [sys.executable, "-c", "import numba, secseg.densecrf.packed as l; print(l.softmax._cache.cache_path)"]
    return subprocess.run(command, env=usual | environment, capture_output=True, text=True, check=True).stdout


def test_numba_caches_in_the_cache_folder_of_the_user_even_if_numba_is_imported_first(tmp_path: Path) -> None:
    assert numba_cache(SECSEG_CACHE=str(tmp_path)).startswith(str(tmp_path / "numba"))


def test_functions_of_other_packages_are_cached_where_numba_caches_them() -> None:
    code = "import os, numba, secseg.densecrf; print(repr(numba.config.CACHE_DIR), 'NUMBA_CACHE_DIR' in os.environ)"
    usual = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    usual["PYTHONPATH"] = str(REPOSITORY / "src")
    printed = subprocess.run([sys.executable, "-c", code], env=usual, capture_output=True, text=True, check=True).stdout
    assert printed == "'' False\n"


def test_a_numba_cache_that_the_user_chose_is_kept(tmp_path: Path) -> None:
    assert numba_cache(NUMBA_CACHE_DIR=str(tmp_path)).startswith(str(tmp_path))


def test_if_the_cache_cannot_be_written_numba_caches_in_a_folder_that_is_removed_at_exit(tmp_path: Path) -> None:
    assert numba_cache(SECSEG_CACHE="/dev/null/cache", TMPDIR=str(tmp_path)).startswith(f"{tmp_path}/secseg-numba-")
    assert not list(tmp_path.iterdir())


LATTICE = {"backend": "lattice", "channels": "rgb", "scale": 1, **PAPER}


def test_a_crf_may_get_probabilities_in_place_of_scores() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 4, 9, 9, generator=generator)
    images = torch.randint(0, 256, (2, 3, 9, 9), generator=generator, dtype=torch.uint8)
    plain, other = (build_stage_crf({**LATTICE, "unary": unary}) for unary in ("scores", "probabilities"))
    assert plain is not None
    assert other is not None
    assert torch.equal(other(logits, images), plain(logits.softmax(1), images))
    assert not torch.equal(other(logits, images), plain(logits, images))
