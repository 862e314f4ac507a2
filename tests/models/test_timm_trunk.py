"""Any timm model can be a trunk. Its weights are checked strictly, and its normalisation is the model's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from secseg.models.timm_trunk import TimmTrunk
from secseg.utils.errors import UserError


def whole(model: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return timm.create_model(model).state_dict()


# As trunks, each of them names its tensors differently: same, blocks_0, features_conv0, model.
@pytest.mark.parametrize(
    ("model", "stride"), [("resnet18", 32), ("mobilenetv3_small_050", 32), ("densenet121", None), ("levit_128s", None)]
)
def test_file_of_the_whole_model_gives_the_models_own_features(tmp_path: Path, model: str, stride: int | None) -> None:
    torch.manual_seed(1)
    net = timm.create_model(model).eval()
    if not hasattr(net, "forward_intermediates"):
        pytest.skip(f"timm {timm.__version__} does not give the levels of a whole {model}")
    save_file(net.state_dict(), tmp_path / "whole.safetensors")
    trunk = TimmTrunk(model, str(tmp_path / "whole.safetensors"), stride).eval()
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        levels, theirs = trunk(x), net.forward_intermediates(x, intermediates_only=True)
    for level in levels:
        assert any(torch.allclose(level, other, atol=1e-5) for other in theirs if other.shape == level.shape)


@pytest.mark.parametrize(
    ("output_stride", "strides", "side"), [(8, (8, 8, 8), 9), (16, (8, 16, 16), 5), (32, (8, 16, 32), 3)]
)
def test_output_stride_sets_the_deepest_level(output_stride: int, strides: tuple[int, ...], side: int) -> None:
    trunk = TimmTrunk("resnet18", None, output_stride)
    levels = trunk(torch.zeros(1, 3, 65, 65))
    assert (trunk.strides, trunk.channels) == (strides, (128, 256, 512))
    assert [level.shape[1] for level in levels] == [128, 256, 512]
    assert levels[-1].shape[-1] == side


def test_without_a_setting_the_output_stride_is_8_where_timm_can_dilate_and_else_the_models_own() -> None:
    assert TimmTrunk("resnet18", None).strides == (8, 8, 8)
    assert TimmTrunk("mobilenetv3_small_050", None).strides == (8, 8, 8)
    assert TimmTrunk("vgg11", None).strides == (8, 16, 32)
    assert TimmTrunk("test_vit", None).strides == (16,)


def test_levels_are_sorted_from_fine_to_coarse() -> None:
    trunk = TimmTrunk("resnet18", None, 16, levels=[4, 2])
    assert [level.shape[1] for level in trunk(torch.zeros(1, 3, 65, 65))] == list(trunk.channels) == [128, 512]


def test_levels_with_channels_last_are_permuted() -> None:
    trunk = TimmTrunk("swin_tiny_patch4_window7_224", None)
    assert [level.shape[1:] for level in trunk(torch.zeros(1, 3, 224, 224))] == [
        (192, 28, 28),
        (384, 14, 14),
        (768, 7, 7),
    ]


def test_normalization_is_the_models_own() -> None:
    inception, imagenet = TimmTrunk("xception41", None, 8), TimmTrunk("resnet50", None, 8)
    assert inception.normalization.mean == pytest.approx([127.5] * 3)
    assert imagenet.normalization.std == pytest.approx([58.395, 57.12, 57.375])
    image = torch.randint(0, 256, (1, 3, 4, 4), dtype=torch.uint8)
    config = timm.data.resolve_data_config({}, model=timm.create_model("resnet50"))
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    torch.testing.assert_close(imagenet.normalization(image), (image / 255 - mean) / std)


@pytest.mark.parametrize("kind", ["missing", "unknown", "other shape"])
def test_weights_that_do_not_fit_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    state = whole("resnet18")
    if kind == "missing":
        del state["layer2.0.conv1.weight"]
    elif kind == "unknown":
        state["layer9.weight"] = torch.zeros(1)
    else:
        state["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    torch.save(state, tmp_path / "resnet18.pth")
    named = {"missing": "layer2.0.conv1.weight", "unknown": "layer9.weight", "other shape": "conv1.weight"}[kind]
    with pytest.raises(UserError, match=f"{kind}: {named}"):
        TimmTrunk("resnet18", str(tmp_path / "resnet18.pth"))


def test_a_failed_download_names_the_address_and_the_key_for_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def offline(model: str, pretrained: bool = False, **options: Any) -> Any:
        if pretrained:
            raise OSError("no network")
        return create(model, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(UserError, match=r"huggingface\.co/timm/resnet18[\s\S]*backbone\.trunk\.weights=<path>"):
        TimmTrunk("resnet18")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": None}, "needs backbone.trunk.model"),
        ({"model": "resnet5"}, "Did you mean 'resnet50"),
        ({"model": "vgg11", "output_stride": 8}, r"output stride of 32, which cannot .*output_stride=null"),
        ({"model": "test_vit", "output_stride": 8}, r"output stride of 16, which cannot .*output_stride=null"),
        ({"model": "test_vit", "output_stride": 32}, r"backbone\.trunk\.levels=null and backbone\.input_size"),
        ({"model": "resnet18", "output_stride": 12}, "give one of 8, 16, 32"),
        ({"model": "resnet18", "levels": []}, "at least one"),
        ({"model": "resnet18", "levels": [-1]}, "the levels 0 to 4"),
        ({"model": "resnet18", "levels": [9]}, "the levels 0 to 4"),
        ({"model": "test_vit", "levels": [6]}, "the levels 0 to 5"),
        ({"model": "resnet18", "weights": "/no/such/file.pth"}, "There is no weights file"),
    ],
)
def test_what_cannot_be_a_trunk_is_refused_with_what_to_do(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TimmTrunk(**{"weights": None, **settings})
