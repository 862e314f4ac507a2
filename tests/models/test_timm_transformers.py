"""Transformers of timm as trunks: features, position embeddings and weights are timm's own, at any size that fits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from secseg.models import LargeFOVHead, SegmentationNet, trunk_fingerprint
from secseg.models.input_sizes import InputSizes
from secseg.models.timm_models import family_of
from secseg.models.timm_trunk import TimmTrunk
from secseg.utils.errors import UserError

# Plain transformers, and the arguments that let timm process images of 5 patches along each side.
FAMILIES = {
    "vit_small_patch14_dinov2": {"dynamic_img_size": True},
    "vit_small_patch14_reg4_dinov2": {"dynamic_img_size": True},
    "vit_small_patch16_dinov3": {"dynamic_img_size": True},
    "vit_base_patch16_clip_quickgelu_224.openai": {"dynamic_img_size": True},
    "deit_small_patch16_224": {"dynamic_img_size": True},
    "deit_tiny_distilled_patch16_224": {"dynamic_img_size": True},
    "vit_base_patch16_siglip_224": {"dynamic_img_size": True},
    "naflexvit_base_patch16_gap": {},
    "eva02_small_patch14_336": {"dynamic_img_size": True},
    "vit_relpos_small_patch16_224": {"img_size": 80},
    "samvit_base_patch16": {"img_size": 80},
    "beit_base_patch16_224": {"img_size": 80},
    "cait_xxs24_224": {"img_size": 80},
}
SMALL = {model: {"embed_dim": 32, "depth": 3, "num_heads": 2} for model in FAMILIES} | {
    "swin_tiny_patch4_window7_224": {"embed_dim": 24, "depths": (1, 2, 2, 1), "num_heads": (1, 2, 4, 8)}
}
OWN = timm.create_model


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let timm create these models with few narrow blocks."""

    def create(model: str, *args: Any, **options: Any) -> Any:
        return OWN(model, *args, **{**SMALL.get(model, {}), **options})

    monkeypatch.setattr(timm, "create_model", create)
    family_of.cache_clear()
    yield
    family_of.cache_clear()


def drawn(model: str, **options: Any) -> Any:
    """timm's whole model, with other values than 0 and 1 wherever timm starts with them."""
    torch.manual_seed(1)
    net = timm.create_model(model, **options).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net


def saved(state: dict[str, Tensor], folder: Path) -> str:
    torch.save(state, folder / "weights.pth")
    return str(folder / "weights.pth")


def images(side: int) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("model", FAMILIES)
def test_blocks_are_timms_own_with_the_final_normalisation_and_without_other_tokens(tmp_path: Path, model: str) -> None:
    net = drawn(model, **FAMILIES[model])
    patch = net.feature_info[0]["reduction"]
    trunk = TimmTrunk(model, saved(net.state_dict(), tmp_path), levels=[0, 2], input_size=5 * patch).eval()
    x = images(5 * patch)
    with torch.no_grad():
        levels = trunk(x)
        theirs = net.forward_intermediates(x, indices=[0, 2], norm=True, intermediates_only=True)
    assert [level.shape for level in levels] == [(2, channels, 5, 5) for channels in trunk.channels]
    assert trunk.strides == (patch, patch)
    for level, other in zip(levels, theirs, strict=True):
        torch.testing.assert_close(level, other)
    if not net.pretrained_cfg.get("fixed_input_size") or "dynamic_img_size" in FAMILIES[model]:
        assert InputSizes(trunk).grid(3 * patch) == (3, 3)


@pytest.mark.parametrize("model", ["vit_small_patch14_dinov2", "vit_base_patch16_clip_quickgelu_224.openai"])
@pytest.mark.parametrize("patches", [5, 41])
def test_position_embeddings_are_resampled_as_timm_resamples_those_of_a_checkpoint(
    tmp_path: Path, model: str, patches: int
) -> None:
    native = drawn(model)
    side = patches * native.patch_embed.patch_size[0]
    source = {"state_dict": native.state_dict(), "classifier": None}
    resampled = timm.create_model(model, pretrained=True, pretrained_cfg_overlay=source, img_size=side).eval()
    assert resampled.pos_embed.shape != native.pos_embed.shape
    trunk = TimmTrunk(model, saved(native.state_dict(), tmp_path)).eval()
    x = images(side)[:1]
    with torch.no_grad():
        (theirs,) = resampled.forward_intermediates(x, indices=1, norm=True, intermediates_only=True)
        torch.testing.assert_close(trunk(x)[0], theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore::UserWarning:timm.layers.interpolate")  # timm's resampling of biases
def test_a_model_of_one_size_is_built_for_the_input_size_and_its_weights_are_resampled_as_by_timm(
    tmp_path: Path,
) -> None:
    native = drawn("beit_base_patch16_224")
    path = saved(native.state_dict(), tmp_path)
    source = {"state_dict": native.state_dict(), "classifier": None}
    theirs = timm.create_model(
        "beit_base_patch16_224", pretrained=True, pretrained_cfg_overlay=source, img_size=96
    ).eval()
    trunk = TimmTrunk("beit_base_patch16_224", path, input_size=96).eval()
    with torch.no_grad():
        (expected,) = theirs.forward_intermediates(images(96), indices=1, norm=True, intermediates_only=True)
        torch.testing.assert_close(trunk(images(96))[0], expected)
    with pytest.raises(UserError, match=r"96 x 96|224 x 224"):
        InputSizes(trunk).grid(224)
    with pytest.raises(
        UserError, match=r"100 x 100.*96 \(a grid of 6 x 6\), 112 \(a grid of 7 x 7\), 656 \(a grid of 41"
    ):
        TimmTrunk("beit_base_patch16_224", None, input_size=100)


def test_windows_are_shifted_in_each_stage_whose_grid_has_several() -> None:
    trunk = TimmTrunk("swin_tiny_patch4_window7_224", None, input_size=448)
    assert [stage.blocks[-1].shift_size for stage in (trunk.net.layers_1, trunk.net.layers_2)] == [(3, 3)] * 2
    assert trunk.net.layers_2.blocks[-1].input_resolution == (28, 28)


def test_the_last_block_is_the_default_and_unused_blocks_are_removed() -> None:
    assert len(TimmTrunk("test_vit", None)(images(32))) == 1
    assert len(TimmTrunk("test_vit", None, levels=[1]).net.model.blocks) == 2


def test_other_blocks_have_another_fingerprint() -> None:
    prints = set()
    for levels in ([0, 2], [1, 2]):
        torch.manual_seed(0)
        trunk = TimmTrunk("test_vit", None, levels=levels)
        prints.add(trunk_fingerprint(SegmentationNet(trunk, LargeFOVHead(128, 3, 4), "abc")))
    assert len(prints) == 2


def test_files_of_the_authors_of_a_model_are_read_as_timm_reads_them(tmp_path: Path) -> None:
    net = drawn("vit_small_patch14_dinov2", dynamic_img_size=True)
    published = {**net.state_dict(), "mask_token": torch.zeros(1, 32)}  # DINOv2: an additional tensor
    trunk = TimmTrunk("vit_small_patch14_dinov2", saved(published, tmp_path)).eval()
    with torch.no_grad():
        (theirs,) = net.forward_intermediates(images(70), indices=1, norm=True, intermediates_only=True)
        torch.testing.assert_close(trunk(images(70))[0], theirs)
    deit = drawn("deit_small_patch16_224", num_classes=7)  # DeiT: in a dict, here with another classifier
    trunk = TimmTrunk("deit_small_patch16_224", saved({"model": deit.state_dict()}, tmp_path))
    torch.testing.assert_close(trunk.net.model.blocks[2].mlp.fc1.weight, deit.blocks[2].mlp.fc1.weight)


@pytest.mark.parametrize("model", ["deit_small_patch16_224", "vit_base_patch16_siglip_gap_224"])
def test_a_file_without_a_tensor_of_the_features_is_refused(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SMALL, model, SMALL["deit_small_patch16_224"])
    state = drawn(model).state_dict()
    del state["blocks.1.mlp.fc1.weight"]  # timm fills it with random numbers in models with siglip_gap in their name
    with pytest.raises(UserError, match=r"missing: blocks\.1\.mlp\.fc1\.weight"):
        TimmTrunk(model, saved(state, tmp_path))


def through_blocks(trunk: TimmTrunk, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Tokens after the block of the units, and the levels [1, 4] of test_vit computed from them."""
    model: Any = trunk.net.model
    tokens = model.norm_pre(model._pos_embed(model.patch_embed(x)))
    levels = []
    for index, block in enumerate(model.blocks):
        tokens = block(tokens)
        if index == 2:
            units = tokens = tokens.detach().requires_grad_()
        if index in (1, 4):
            levels.append(model.norm(tokens)[:, 1:])
    return units, levels


def test_the_units_of_blocks_have_the_gradient_through_all_deeper_blocks() -> None:
    torch.manual_seed(0)
    trunk = TimmTrunk("test_vit", None, levels=[1, 4]).double().eval()
    x = images(64).double()
    weights = torch.randn(16, 64, dtype=torch.float64)
    units, levels = trunk.units(x.requires_grad_())
    assert units.shape == (2, 64, 4, 4)
    (found,) = torch.autograd.grad(sum((level * weights.T.view(64, 4, 4)).sum() for level in levels), units)
    tokens, expected = through_blocks(trunk, x)
    (wanted,) = torch.autograd.grad((expected[1] * weights).sum(), tokens)
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), wanted[:, 1:])
    torch.testing.assert_close(levels, trunk(x))
    assert not trunk.net.model.blocks[2]._forward_hooks, "other threads use the same modules"


def test_the_units_of_a_channels_last_trunk_have_the_gradient_through_the_deeper_stages() -> None:
    torch.manual_seed(0)
    trunk = TimmTrunk("test_mambaout", None).double().eval()
    assert not trunk.channels_first
    x = images(64).double().requires_grad_()
    units, levels = trunk.units(x)
    (found,) = torch.autograd.grad(levels[-1].sum(), units)
    assert units.shape == levels[0].shape
    stages = [stage for name, stage in trunk.net.named_children() if name.startswith("stages")]
    inside = units.detach().permute(0, 2, 3, 1).requires_grad_()
    y = inside
    for stage in stages[-2:]:
        y = stage(y)
    (wanted,) = torch.autograd.grad(y.sum(), inside)
    torch.testing.assert_close(found, wanted.permute(0, 3, 1, 2))
    assert wanted.abs().max() > 0


@pytest.mark.parametrize(
    "model", [*FAMILIES, "test_vit2", "test_convnext", "test_mambaout", "test_resnet", "swin_tiny_patch4_window7_224"]
)
def test_a_training_step_changes_the_trunk(model: str) -> None:
    torch.manual_seed(0)
    plain = family_of(model).plain
    side = 2 * family_of(model).stages[0]["reduction"] if plain else 64
    trunk = TimmTrunk(model, None, input_size=side, levels=None if plain else [1, 2])
    network = SegmentationNet(trunk, LargeFOVHead(sum(trunk.channels), 3, 8, 1), "abc", input_size=side).train()
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    before = [parameter.clone() for parameter in trunk.parameters()]
    scores = network(torch.randint(0, 256, (2, 3, side, side)))
    assert scores.shape == (2, 3, *network.mask_size(side))
    nn.functional.cross_entropy(scores, torch.zeros(2, *scores.shape[2:], dtype=torch.long)).backward()
    optimizer.step()
    after = [*trunk.parameters()]
    assert all(parameter.isfinite().all() for parameter in after)
    assert not torch.equal(before[0], after[0]) or not torch.equal(before[-1], after[-1])
