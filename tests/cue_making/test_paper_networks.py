"""The paper's foreground and background networks are those of section 5 of the method's page, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from secseg.cue_making.classifier import LocalizationNet, build_localization_net
from secseg.models import vgg
from secseg.models.vgg import BackgroundVGG16, ForegroundVGG16, VGG16LargeFOV
from secseg.training.optimizers import build_optimizer
from secseg.utils.errors import UserError
from tests.models.conftest import vgg16_state
from tests.reference import caffe
from tests.reference.localization import saliency

CLASSES = tuple(str(number) for number in range(20))


def on_meta(node: dict[str, Any]) -> LocalizationNet:
    with torch.device("meta"):
        return build_localization_net(node["network"], CLASSES).eval()


@pytest.fixture
def tiny_vgg(monkeypatch: pytest.MonkeyPatch) -> None:
    """VGG-16 with the same layers and fewer channels."""
    stages = [(tuple(width // 64 for width in widths), indices) for widths, indices in vgg.STAGES]
    monkeypatch.setattr(vgg, "STAGES", stages)


def tiny(node: dict[str, Any], input_size: int, **head: Any) -> LocalizationNet:
    """The network with 8 channels in place of 512, for that input size."""
    network = {**node["network"], "input_size": input_size, "head": {**node["network"]["head"], "width": 8, **head}}
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vgg.VGG16, "channels", (8,))
        return build_localization_net(network, CLASSES[:3]).double().eval()


def test_foreground_maps_and_background_saliency_are_41_by_41_at_321(paper: dict[str, Any]) -> None:
    image = torch.empty(2, 3, 321, 321, dtype=torch.uint8, device="meta")
    foreground, background = on_meta(paper["foreground"]), on_meta(paper["background"])
    assert foreground.activation_maps(image).shape == (2, 20, 41, 41)
    assert foreground(image).shape == background(image).shape == (2, 20)
    assert background.saliency(image).shape == foreground.saliency(image).shape == (2, 41, 41)
    assert background.mask_size(321) == (11, 11)


@pytest.mark.parametrize(("kind", "count"), [(ForegroundVGG16, 3), (BackgroundVGG16, 5)])
def test_pools_are_caffes_2_by_2_and_nothing_is_dilated(kind: type[vgg.VGG16], count: int) -> None:
    with torch.device("meta"):
        trunk = kind(None)
    layers = dict(trunk.layers.named_children())
    pools = {name: layer for name, layer in layers.items() if isinstance(layer, nn.MaxPool2d)}
    assert list(pools) == [f"pool{stage}" for stage in range(1, count + 1)]
    for pool in pools.values():
        assert (pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode) == (2, 2, 0, True)
    convolutions = [layer for layer in layers.values() if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == 13
    assert {layer.dilation for layer in convolutions} == {(1, 1)}
    kinds = [type(layer) for layer in trunk.layers]
    assert all(kinds[at + 1] is nn.ReLU for at, layer in enumerate(kinds) if layer is nn.Conv2d)
    for size in (321, 322, 225):
        side = size
        for _ in range(count):
            side = caffe.pooled_size(side, 2, 2, 0)
        assert trunk(torch.empty(1, 3, size, size, device="meta"))[0].shape[-2:] == (side, side)


def test_foreground_head_has_no_relu_after_its_second_convolution_and_no_bias_in_its_classifier(
    paper: dict[str, Any],
) -> None:
    head: Any = on_meta(paper["foreground"]).head
    assert [name for name, _ in head.hidden.named_children()] == ["conv1", "relu1", "dropout1", "conv2", "dropout2"]
    for conv, channels in ((head.hidden.conv1, 512), (head.hidden.conv2, 1024)):
        assert (conv.in_channels, conv.out_channels, conv.kernel_size, conv.padding) == (channels, 1024, (3, 3), (1, 1))
    assert {head.hidden.dropout1.p, head.hidden.dropout2.p} == {0.5}
    assert head.classifier.bias is None
    assert head.decay == 1


def test_background_head_is_two_layers_of_1024_and_one_of_20(paper: dict[str, Any]) -> None:
    head: Any = on_meta(paper["background"]).head
    shapes = [tuple(layer.weight.shape) for layer in (head.fc6, head.fc7, head.classifier)]
    assert shapes == [(1024, 512, 11, 11), (1024, 1024, 1, 1), (20, 1024, 1, 1)]
    assert head.dropout.p == 0.5
    assert head.classifier.bias is not None


@pytest.mark.parametrize("part", ["foreground", "background"])
def test_new_layers_are_normal_with_standard_deviation_0_005(paper: dict[str, Any], part: str) -> None:
    node = paper[part]["network"]
    head = {**node["head"], "size": 3} if part == "background" else node["head"]
    network = build_localization_net({**node, "head": head}, CLASSES)
    for name, parameter in network.head.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        else:
            assert float(parameter.detach().std()) == pytest.approx(0.005, rel=0.03), name


def test_caffes_mean_is_the_one_of_these_networks() -> None:
    red, green, blue = torch.randint(0, 256, (3, 1, 4, 4)).float()
    wanted = torch.stack([blue - 104.008, green - 116.669, red - 122.675], 1)
    torch.testing.assert_close(ForegroundVGG16(None).normalization(torch.stack([red, green, blue], 1)), wanted)
    assert VGG16LargeFOV("a.caffemodel", load=False).normalization.mean == (104.0, 117.0, 123.0)


def test_trunks_start_from_torchvisions_convolutions(vgg16_file: Path) -> None:
    layers = make_layers(cfgs["D"], False)
    state = vgg16_state()
    layers.load_state_dict({n.removeprefix("features."): v for n, v in state.items() if n.startswith("features")})
    for layer in layers:
        if isinstance(layer, nn.MaxPool2d):
            layer.ceil_mode = True
    trunk = BackgroundVGG16(str(vgg16_file))
    image = trunk.normalization(torch.randint(0, 256, (1, 3, 37, 37)))
    with torch.no_grad():
        torch.testing.assert_close(trunk(image)[0], layers(image))
        assert torch.equal(ForegroundVGG16(str(vgg16_file)).layers[:4](image), layers[:4](image))


@pytest.mark.parametrize("part", ["foreground", "background"])
def test_the_solver_is_the_papers_with_a_decay_every_4000_iterations(paper: dict[str, Any], part: str) -> None:
    node = paper[part]
    network = on_meta(node)
    optimizer, schedule = build_optimizer(network, network.head.classifier, node["optim"], node["steps"])
    rate = {id(p): (g["lr"], g["weight_decay"], g["momentum"]) for g in optimizer.param_groups for p in g["params"]}
    conv: Any = network.trunk.layers.conv1_1  # type: ignore[attr-defined]
    assert rate[id(conv.weight)] == pytest.approx((1e-3, 5e-4, 0.9))
    assert rate[id(conv.bias)] == pytest.approx((2e-3, 0, 0.9))
    assert rate[id(network.head.classifier.weight)] == pytest.approx((1e-2, 5e-4, 0.9))
    if part == "background":
        assert rate[id(network.head.classifier.bias)] == pytest.approx((2e-2, 0, 0.9))
    factors = [schedule.lr_lambdas[0](step) for step in (0, 3999, 4000, 7999)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1])
    assert (node["steps"], node["batch_size"], node["network"]["input_size"]) == (8000, 15, 321)


@pytest.mark.usefixtures("tiny_vgg")
@pytest.mark.parametrize("part", ["foreground", "background"])
def test_saliency_is_the_largest_gradient_of_all_scores_at_conv4_1_before_its_relu(
    paper: dict[str, Any], part: str
) -> None:
    network = tiny(paper[part], 17, **({"size": 1} if part == "background" else {}))
    for layer in network.modules():  # large enough that gradients exceed rounding errors
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.3)
    image = torch.randint(0, 256, (1, 3, 17, 17), dtype=torch.uint8)
    trunk: Any = network.trunk
    behind = [name for name, _ in trunk.layers.named_children()].index("relu4_1")
    units = trunk.layers[:behind](network.normalized(image)).detach()

    def total_score(changed: np.ndarray) -> float:
        with torch.no_grad():
            x = F.relu(torch.from_numpy(changed)[None])
            return float(network.classify([trunk.layers[behind + 1 :](x)]).sum())

    found = network.saliency(image)
    wanted = saliency(units[0].numpy(), total_score)
    assert found.shape == (1, 3, 3)
    assert wanted.max() > 0
    np.testing.assert_allclose(found[0].numpy(), wanted, rtol=1e-4, atol=1e-6 * wanted.max())


@pytest.mark.usefixtures("tiny_vgg")
def test_saliency_is_zero_where_every_unit_is_off(paper: dict[str, Any]) -> None:
    network = tiny(paper["background"], 33, size=2)
    trunk: Any = network.trunk
    image = torch.randint(0, 256, (1, 3, 33, 33), dtype=torch.uint8)

    def shut(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output - 1e9 * (torch.arange(5) < 2)

    trunk.layers.conv4_1.register_forward_hook(shut)
    found = network.saliency(image)
    assert not found[..., :2].any()
    assert found[..., 2:].any()


@pytest.mark.usefixtures("tiny_vgg")
def test_background_network_averages_over_positions_of_larger_images_and_refuses_smaller_images(
    paper: dict[str, Any],
) -> None:
    network = tiny(paper["background"], 65, size=3)
    assert network(torch.zeros(2, 3, 129, 129, dtype=torch.uint8)).shape == (2, 3)
    with pytest.raises(UserError, match=r"3 x 3, and these images give one of 2 x 2: give head\.size=2"):
        network(torch.zeros(2, 3, 33, 33, dtype=torch.uint8))


def test_maps_of_the_background_network_raise_an_error(paper: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="no class activation maps"):
        on_meta(paper["background"]).activation_maps(torch.empty(1, 3, 321, 321, device="meta"))
