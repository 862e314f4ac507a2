"""The paper's trunk equals the official prototxt, layer by layer, and loads torchvision's weights."""

from __future__ import annotations

import warnings
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models import VGG16_Weights
from torchvision.models.vgg import cfgs, make_layers

from secseg.models import build_network, vgg
from secseg.models.normalization import CAFFE
from secseg.models.vgg import VGG16LargeFOV, subsample
from secseg.utils.errors import UserError
from tests.models.conftest import vgg16_state
from tests.reference import caffe

# Section 3 of the method's page: name, kernel, stride, padding, dilation, in the order of the official prototxt.
PROTOTXT = [
    *[(f"conv1_{n}", 3, 1, 1, 1) for n in (1, 2)],
    ("pool1", 3, 2, 1, 1),
    *[(f"conv2_{n}", 3, 1, 1, 1) for n in (1, 2)],
    ("pool2", 3, 2, 1, 1),
    *[(f"conv3_{n}", 3, 1, 1, 1) for n in (1, 2, 3)],
    ("pool3", 3, 2, 1, 1),
    *[(f"conv4_{n}", 3, 1, 1, 1) for n in (1, 2, 3)],
    ("pool4", 3, 1, 1, 1),
    *[(f"conv5_{n}", 3, 1, 2, 2) for n in (1, 2, 3)],
    ("pool5", 3, 1, 1, 1),
    ("pool5a", 3, 1, 1, 1),
]
PAPER = {
    "input_size": 321,
    "freeze": False,
    "trunk": {"_target_": "secseg.models.vgg.VGG16LargeFOV", "weights": None},
    "head": {"_target_": "secseg.models.head.LargeFOVHead", "width": 1024, "dilation": 12, "dropout": 0.5},
}


def number(value: int | tuple[int, int]) -> int:
    return value if isinstance(value, int) else value[0]


def backbone(**trunk: object) -> dict[str, object]:
    return {**PAPER, "trunk": {**PAPER["trunk"], **trunk}}


def test_trunk_has_the_layers_of_the_prototxt_in_order() -> None:
    layers = [(n, m) for n, m in VGG16LargeFOV(None).layers.named_children() if not isinstance(m, nn.ReLU)]
    found = [
        (name, *(number(getattr(m, key, 1)) for key in ("kernel_size", "stride", "padding", "dilation")))
        for name, m in layers
    ]
    assert found == PROTOTXT
    kinds = {name: type(m) for name, m in layers}
    assert {kinds[f"pool{n}"] for n in range(1, 6)} == {nn.MaxPool2d}
    assert kinds["pool5a"] is nn.AvgPool2d


def test_imagenet_features_are_recognised_by_the_digest_in_their_file_name() -> None:
    assert VGG16_Weights.IMAGENET1K_FEATURES.url.endswith(f"-{vgg.FEATURES_DIGEST}.pth")


def test_each_convolution_of_the_trunk_is_followed_by_relu() -> None:
    kinds = [type(m) for m in VGG16LargeFOV(None).layers]
    after = [kinds[at + 1] for at, kind in enumerate(kinds) if kind is nn.Conv2d]
    assert after == [nn.ReLU] * 13


def test_321_gives_41_by_41_and_21_scores() -> None:
    network = build_network(PAPER, [str(n) for n in range(21)]).eval()
    assert network.mask_size(321) == (41, 41)
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 321, 321, dtype=torch.uint8)).shape == (1, 21, 41, 41)


def test_trunk_equals_torchvisions_layers_with_the_prototxts_pools_and_dilation(vgg16_file: Path) -> None:
    trunk = VGG16LargeFOV(str(vgg16_file))
    layers = make_layers(cfgs["D"], False)
    state = torch.load(vgg16_file, weights_only=True)
    layers.load_state_dict({n.removeprefix("features."): v for n, v in state.items() if n.startswith("features")})
    image = torch.randint(0, 256, (1, 3, 65, 65)).float()
    x = trunk.normalization(image)
    assert torch.equal(trunk.layers[:4](x), layers[:4](x))  # conv1, not changed
    pools = [at for at, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    for at, stride in zip(pools, (2, 2, 2, 1, 1), strict=True):
        layers[at] = nn.MaxPool2d(3, stride, padding=1, ceil_mode=True)
    for at in (24, 26, 28):
        layers[at].dilation = layers[at].padding = (2, 2)
    torch.testing.assert_close(trunk(x)[0], F.avg_pool2d(layers(x), 3, 1, padding=1))


def test_the_grid_is_caffes_at_every_input_size() -> None:
    trunk = VGG16LargeFOV(None, load=False).to("meta")
    pools = [layer for layer in trunk.layers if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d)]
    for size in range(65, 401):
        wanted, x = size, torch.empty(1, 1, size, 1, device="meta")
        for pool, stride in zip(pools, (2, 2, 2, 1, 1, 1), strict=True):
            wanted, x = caffe.pooled_size(wanted, 3, stride, 1), pool(x)
        assert x.shape[2] == wanted, size
        if size % 64 == 2:
            assert trunk(torch.empty(1, 3, size, size, device="meta"))[0].shape[-2:] == (wanted, wanted)


def test_at_321_rounding_up_changes_nothing() -> None:
    for pool in (layer for layer in VGG16LargeFOV(None, load=False).layers if isinstance(layer, nn.MaxPool2d)):
        for side in (321, 161, 81, 41):
            x = torch.randn(1, 1, side, side)
            assert torch.equal(pool(x), F.max_pool2d(x, 3, pool.stride, padding=1, ceil_mode=False))


@pytest.mark.parametrize("side", [9, 10, 11, 12])
def test_each_pool_is_caffes_with_windows_clipped_at_the_border(side: int) -> None:
    x = torch.randn(2, side, side)
    layers = VGG16LargeFOV(None, load=False).layers
    for name, stride in (("pool1", 2), ("pool4", 1), ("pool5a", 1)):
        wanted = caffe.pool(x.numpy(), 3, stride, 1, average=name == "pool5a")
        torch.testing.assert_close(layers.get_submodule(name)(x[None])[0], torch.from_numpy(wanted))


@pytest.mark.parametrize(
    ("chosen", "source"),
    [("torchvision", VGG16_Weights.IMAGENET1K_V1), ("features", VGG16_Weights.IMAGENET1K_FEATURES)],
)
def test_normalization_equals_torchvisions_own(chosen: str, source: VGG16_Weights) -> None:
    image = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    wanted = source.transforms()
    theirs = torchvision.transforms.functional.normalize(image / 255, wanted.mean, wanted.std)
    # torchvision rounds Caffe's means to five digits of 0..1
    tolerance = 1e-3 if chosen == "features" else 1e-5
    torch.testing.assert_close(VGG16LargeFOV(None, chosen).normalization(image), theirs, atol=tolerance, rtol=1e-5)


def test_caffes_normalization_is_bgr_minus_the_mean_unscaled() -> None:
    red, green, blue = torch.randint(0, 256, (3, 1, 4, 4)).float()
    wanted = torch.stack([blue - 104, green - 117, red - 123], 1)
    assert torch.equal(CAFFE(torch.stack([red, green, blue], 1)), wanted)


@pytest.mark.parametrize(
    ("weights", "order", "first"),
    [
        ("imagenet", "rgb", 123.675),
        ("imagenet_features", "rgb", 123),
        (None, "bgr", 104),
        ("file.pth", "rgb", 123.675),
        ("file.caffemodel", "bgr", 104),
    ],
)
def test_normalization_follows_the_weights(weights: str | None, order: str, first: float) -> None:
    normalization = VGG16LargeFOV(weights, load=False).normalization
    assert (normalization.order, normalization.mean[0]) == (order, pytest.approx(first))


def test_head_keeps_every_fourth_unit_and_every_third_row_and_column_of_the_kernel() -> None:
    state = vgg16_state()
    units, inputs = torch.arange(4096.0), torch.arange(25088.0)
    state["classifier.0.weight"] = inputs.expand(4096, -1)
    assert torch.equal(subsample(state)["fc6.weight"][5], inputs.view(512, 7, 7)[:, [0, 3, 6]][:, :, [0, 3, 6]])
    state["classifier.0.weight"], state["classifier.0.bias"] = units[:, None].expand(-1, 25088), units
    state["classifier.3.weight"], state["classifier.3.bias"] = units[:, None] * 4096 + units, units
    kept = subsample(state)
    assert torch.equal(kept["fc6.weight"][:, 7, 1, 2], units[::4])
    assert torch.equal(kept["fc6.bias"], units[::4])
    assert torch.equal(kept["fc7.weight"][:, :, 0, 0], units[::4, None] * 4096 + units[None, ::4])
    assert torch.equal(kept["fc7.bias"], units[::4])


def test_head_starts_from_the_fully_connected_layers_and_its_classifier_does_not(vgg16_file: Path) -> None:
    head = build_network(backbone(weights=str(vgg16_file)), ["background", "cat"]).head
    for name in ("fc6.weight", "fc6.bias", "fc7.weight", "fc7.bias"):
        assert torch.all(head.get_parameter(name) == 0.01), name
    assert not torch.all(head.classifier.weight == 0.01)


def test_head_of_another_width_is_initialised_with_a_warning(vgg16_file: Path) -> None:
    narrow = {**backbone(weights=str(vgg16_file)), "head": {**PAPER["head"], "width": 64}}
    with pytest.warns(UserWarning, match=r"fc6\.weight.*initialised at random"):
        build_network(narrow, ["background", "cat"])


def broken(kind: str) -> dict[str, Tensor]:
    state = vgg16_state()
    if kind == "missing":
        del state["features.17.bias"]
    elif kind == "unknown":
        state["features.99.bias"] = torch.zeros(3)
    else:
        state["classifier.3.weight"] = torch.zeros(1, 1).expand(4096, 4095)
    return state


@pytest.mark.parametrize(
    ("kind", "named"),
    [("missing", "features.17.bias"), ("unknown", "features.99.bias"), ("other shape", "classifier.3.weight")],
)
def test_weights_that_do_not_fit_are_refused_by_name(tmp_path: Path, kind: str, named: str) -> None:
    torch.save(broken(kind), tmp_path / "vgg.pth")
    with pytest.raises(UserError, match=rf"{kind}: {named}"):
        VGG16LargeFOV(str(tmp_path / "vgg.pth"))


@pytest.mark.parametrize("sign", ["not finite", "torchvision's file", "convolutions alone"])
def test_a_file_without_fully_connected_layers_needs_its_normalization(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sign: str
) -> None:
    path = tmp_path / "features.pth"
    state = vgg16_state(float("nan") if sign == "not finite" else 0.01)
    if sign == "convolutions alone":
        state = {name: value for name, value in state.items() if name.startswith("features.")}
    torch.save(state, path)
    if sign == "torchvision's file":
        monkeypatch.setattr(vgg, "FEATURES_DIGEST", vgg.sha256(path)[:8])
    with pytest.raises(UserError, match="normalization=features"):
        VGG16LargeFOV(str(path))
    with pytest.warns(UserWarning, match="no valid fc6 and fc7"):
        network = build_network(backbone(weights=str(path), normalization="features"), ["background", "cat"])
    assert torch.equal(network.trunk.layers.get_parameter("conv4_2.weight"), state["features.19.weight"])
    assert network.head.fc6.weight.isfinite().all()
    assert not torch.all(network.head.fc6.weight == 0.01)


def test_valid_weights_load_without_a_warning(vgg16_file: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        VGG16LargeFOV(str(vgg16_file))


def test_a_failed_download_names_the_address_and_the_key_for_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(UserError) as caught:
        VGG16LargeFOV("imagenet")
    assert VGG16_Weights.IMAGENET1K_V1.url in str(caught.value)
    assert "backbone.trunk.weights=<path>" in str(caught.value)


def test_unknown_normalization_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean 'caffe'"):
        VGG16LargeFOV(None, "cafe")
