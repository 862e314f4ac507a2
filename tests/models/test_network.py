"""Trunk and head as one network: grids, freezing, rebuilding, the fingerprint of the features."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

import secseg
from secseg.models import (
    Head,
    LargeFOVHead,
    Normalization,
    SegmentationNet,
    Trunk,
    build_network,
    fast_copy,
    trunk_fingerprint,
)
from secseg.models.timm_trunk import TimmTrunk
from secseg.models.trunk import concat_levels
from secseg.utils.config import config_dir, to_plain
from secseg.utils.errors import UserError

CLASSES = ("background", "cat", "dog")
BACKBONES = sorted(path.stem for path in (config_dir() / "backbone").glob("*.yaml"))


def backbone(name: str, **trunk: Any) -> dict[str, Any]:
    with initialize_config_dir(str(config_dir() / "backbone"), version_base="1.3"):
        node = to_plain(compose(name))
    node["trunk"].update(trunk)
    if name == "timm":
        node["trunk"]["model"] = "resnet18"
    return node


class Ramps(Trunk):
    """Levels of ramps from 0 to 1, from the left to the right, on grids of given sides."""

    strides = (8, 16)
    normalization = Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    trained_size = 8
    architecture = "Ramps"

    def __init__(self, *sides: int) -> None:
        super().__init__()
        self.sides, self.channels = sides, (1,) * len(sides)
        self.net = nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> list[Tensor]:
        self.net(images)
        return [torch.linspace(0, 1, side).expand(len(images), 1, side, side).contiguous() for side in self.sides]


@pytest.mark.parametrize("sides", [(9, 5), (5, 9), (9, 9)])
def test_levels_are_resized_to_the_finest_grid_with_aligned_corners(sides: tuple[int, int]) -> None:
    network = SegmentationNet(Ramps(*sides), LargeFOVHead(2, 3, 4), CLASSES)
    seen: list[Tensor] = []
    network.head.fc6.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network(torch.zeros(1, 3, 72, 72))
    ramp = torch.linspace(0, 1, 9).expand(1, 2, 9, 9)
    torch.testing.assert_close(seen[0], ramp)  # half-pixel resizing would flatten the ramp's ends


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_of_the_config_gives_41_by_41(name: str) -> None:
    node = backbone(name)
    with torch.device("meta"):
        network = build_network(node, CLASSES, weights=False)
    assert network.mask_size(node["input_size"]) == (41, 41)
    assert network.class_names == CLASSES


# Caffe's pools round up, which gives other grids.
EIGHTHS = {33: 5, 34: 5, 63: 8, 97: 13, 128: 16}
CAFFES = {33: 5, 34: 6, 63: 9, 97: 13, 128: 17}


@pytest.mark.parametrize(
    ("name", "trunk", "grids"),
    [
        ("efficientnet_lite0", {"output_stride": 8}, EIGHTHS),
        ("efficientnet_lite0", {"output_stride": 16}, EIGHTHS),
        ("vgg16_largefov", {}, CAFFES),
        ("timm", {"output_stride": 16}, EIGHTHS),
    ],
)
def test_mask_size_is_the_size_of_the_scores(name: str, trunk: dict[str, Any], grids: dict[int, int]) -> None:
    network = build_network(backbone(name, **trunk), CLASSES, weights=False).eval()
    for size, side in grids.items():
        with torch.no_grad():
            scores = network(torch.zeros(1, 3, size, size, dtype=torch.uint8))
        assert network.mask_size(size) == tuple(scores.shape[-2:]) == (side, side)


def test_mask_size_does_not_change_the_network() -> None:
    network = build_network(backbone("timm"), CLASSES, weights=False).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert network.mask_size(8) == (1, 1)  # a grid that is too small for batch statistics
    assert all(module.training for module in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("model", "size", "fitting"),
    [
        ("hrnet_w18_small", 34, {32: 4, 61: 8}),
        ("test_vit", 321, {320: 20, 336: 21, 656: 41}),
        ("vit_small_patch14_dinov2", 321, {308: 22, 322: 23, 574: 41}),
        ("swin_tiny_patch4_window7_224", 321, {320: 40, 324: 41, 328: 41}),
    ],
)
def test_an_input_size_that_does_not_fit_is_refused_with_the_nearest_sizes_that_fit(
    model: str, size: int, fitting: dict[int, int]
) -> None:
    with torch.device("meta"):
        trunk = TimmTrunk(model, None)
        network = SegmentationNet(trunk, LargeFOVHead(sum(trunk.channels), 3, 4), CLASSES)
    with pytest.raises(UserError, match=rf"{model}.* {size} x {size}: .*backbone\.input_size") as refusal:
        network.mask_size(size)
    named = {int(side): int(grid) for side, grid in re.findall(r"(\d+) \(a grid of (\d+) x", str(refusal.value))}
    assert named == fitting
    assert all(network.mask_size(side) == (grid, grid) for side, grid in named.items())


@pytest.mark.parametrize("freeze", [True, False])
def test_freezing_keeps_statistics_and_gives_the_trunk_no_gradient(freeze: bool) -> None:
    network = build_network({**backbone("timm"), "freeze": freeze}, CLASSES, weights=False)
    before = network.trunk.net.bn1.running_mean.clone()
    for mode in (False, True):
        network.train(mode)
    network(torch.randint(0, 256, (2, 3, 65, 65), dtype=torch.uint8)).sum().backward()
    assert torch.equal(network.trunk.net.bn1.running_mean, before) is freeze
    assert all((parameter.grad is None) is freeze for parameter in network.trunk.parameters())
    assert all(parameter.requires_grad is not freeze for parameter in network.trunk.parameters())
    assert all(parameter.grad is not None for parameter in network.head.parameters())
    assert network.head.training


def test_bytes_and_floats_give_the_same_scores() -> None:
    network = build_network(backbone("timm"), CLASSES, weights=False).eval()
    image = torch.randint(0, 256, (1, 3, 65, 65), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(network(image), network(image.float()))


def test_a_half_precision_network_accepts_bytes() -> None:
    network = build_network(backbone("timm"), CLASSES, weights=False).to(torch.bfloat16).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 65, 65, dtype=torch.uint8)).dtype == torch.bfloat16


def test_features_and_classify_equal_the_network() -> None:
    network = build_network(backbone("efficientnet_lite0"), CLASSES).eval()
    image = torch.randint(0, 256, (2, 3, 65, 65), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(network.classify(network.features(image)), network(image))


def test_network_rebuilt_without_its_initial_weights_gives_the_same_scores() -> None:
    node = backbone("efficientnet_lite0")
    trained = build_network(node, CLASSES).eval()
    rebuilt = build_network(node, CLASSES, weights=False).eval()
    rebuilt.load_state_dict(trained.state_dict())
    image = torch.randint(0, 256, (1, 3, 65, 65), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(rebuilt(image), trained(image))


def test_the_fingerprint_changes_with_what_the_features_depend_on(tmp_path: Path) -> None:
    def key(name: str = "timm", **trunk: Any) -> str:
        torch.manual_seed(0)
        return trunk_fingerprint(build_network(backbone(name, **trunk), CLASSES, weights=False))

    lite = {"weights": None, "output_stride": 16}
    keys = [
        key(output_stride=8),
        key(output_stride=16),
        key(output_stride=16, levels=[3]),
        key("efficientnet_lite0", **lite),
    ]
    assert len(set(keys)) == len(keys)
    assert key(output_stride=8) == keys[0]
    network = build_network(backbone("timm"), CLASSES, weights=False)
    before = trunk_fingerprint(network)
    nn.init.ones_(network.head.fc7.weight)
    assert trunk_fingerprint(network) == before  # it does not depend on the head
    with torch.no_grad():
        next(network.trunk.parameters())[0, 0, 0, 0] += 1
    assert trunk_fingerprint(network) != before


def test_trunks_with_equal_tensors_but_another_padding_have_another_fingerprint() -> None:
    networks = []
    for model in ("tf_efficientnet_lite0", "efficientnet_lite0"):
        torch.manual_seed(0)
        trunk = TimmTrunk(model, None, 16)
        trunk.normalization = Normalization((127.0,) * 3, (128.0,) * 3)
        networks.append(SegmentationNet(trunk, LargeFOVHead(sum(trunk.channels), 3, 4), CLASSES))
    networks[1].trunk.load_state_dict(networks[0].trunk.state_dict())
    assert trunk_fingerprint(networks[0]) != trunk_fingerprint(networks[1])


def test_one_class_is_refused() -> None:
    with pytest.raises(UserError, match="at least 2 classes"):
        build_network(backbone("timm"), ["background"], weights=False)


class Linear(Head):
    """A head of a user: a linear map of the levels on the finest grid."""

    def __init__(self, in_channels: int, num_classes: int, bias: bool) -> None:
        super().__init__()
        self.classifier = nn.Conv2d(in_channels, num_classes, 1, bias=bias)

    def forward(self, *levels: Tensor) -> Tensor:
        return self.classifier(concat_levels(levels))


class Anonymous(Linear):
    """A head whose last layer has another name."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__(in_channels, num_classes, True)
        self.last = self.classifier
        del self.classifier


@pytest.fixture
def own_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    for head in (Linear, Anonymous):
        monkeypatch.setattr(secseg, head.__name__, head, raising=False)


@pytest.mark.usefixtures("own_heads")
@pytest.mark.parametrize("name", ["timm", "vgg16_largefov"])
def test_a_head_of_a_user_is_built_from_its_target(name: str) -> None:
    node = {**backbone(name), "head": {"_target_": "secseg.Linear", "bias": False}}
    network = build_network(node, CLASSES, weights=False).eval()
    assert isinstance(network.head, Linear)
    image = torch.randint(0, 256, (2, 3, 65, 65), dtype=torch.uint8)
    assert network(image).shape == (2, 3, *network.mask_size(65))
    with torch.no_grad():
        torch.testing.assert_close(fast_copy(network)(image), network(image), atol=1e-5, rtol=1e-4)


@pytest.mark.usefixtures("own_heads")
def test_a_head_without_a_classifier_is_refused() -> None:
    with pytest.raises(UserError, match="Anonymous has no attribute classifier"):
        build_network({**backbone("timm"), "head": {"_target_": "secseg.Anonymous"}}, CLASSES, weights=False)
