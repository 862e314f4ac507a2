"""A classifier on any trunk: scores, class activation maps, saliency, messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

import secseg
from secseg.cue_making.classifier import LocalizationNet, build_localization_net, load_localization
from secseg.cue_making.heads import ActivationMapHead
from secseg.models.files.model_file import write_model
from secseg.models.fitted_input import fit_input
from secseg.models.normalization import CAFFE_RGB, Normalization
from secseg.models.trunk import Trunk
from secseg.utils.errors import UserError
from tests.cue_making.conftest import localization
from tests.cue_making.toy import NETWORK
from tests.reference.localization import activation_map, log_mean_exp, saliency
from tests.reference.losses import gwrp
from tests.tiny_network import BACKBONE, tiny_network, write_run

CLASSES = ("cat", "dog", "horse")


def tiny(**head: Any) -> LocalizationNet:
    torch.manual_seed(0)
    node = {**NETWORK, "head": {**NETWORK["head"], "kernels": [1, 3], "dropout": 0.5, **head}}
    return build_localization_net(node, CLASSES).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (2, 3, 65, 65), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("option", ["efficientnet_lite0", "timm"])
@pytest.mark.parametrize("part", ["foreground", "background"])
@pytest.mark.parametrize("side", [200, 500])
def test_each_network_of_the_config_gives_maps_and_saliency_of_41_by_41(
    tmp_path: Path, option: str, part: str, side: int
) -> None:
    Image.new("RGB", (side, side)).save(tmp_path / "one.png")
    node = fit_input(localization(option)[part]["network"], [tmp_path / "one.png"])
    node["head"].update({key: False for key, value in node["head"].items() if value == "auto"})
    node["trunk"].update(weights=None, **({"model": "test_efficientnet"} if option == "timm" else {}))
    network = build_localization_net(node, CLASSES).eval()
    assert network.mask_size(network.input_size) == (41, 41)
    small = torch.zeros(1, 3, 1 + (network.input_size - 1) // 5, 1 + (network.input_size - 1) // 5, dtype=torch.uint8)
    assert network.activation_maps(small).shape == (1, 3, 9, 9)
    assert network.saliency(small).shape == (1, 9, 9)
    assert all(parameter.requires_grad is not node["freeze"] for parameter in network.trunk.parameters())


def test_the_score_is_the_mean_of_the_class_activation_map(images: Tensor) -> None:
    network = tiny()
    maps = network.activation_maps(images)
    torch.testing.assert_close(maps.mean((2, 3)), network(images))
    assert (maps < 0).any(), "maps are as the classifier gives them"


def test_pooling_before_the_classifier_gives_the_same_score(images: Tensor) -> None:
    network = tiny()
    hidden = network.head.hidden(network.joined(network.features(images)))  # type: ignore[operator]
    pooled = hidden.mean((2, 3)) @ network.head.classifier.weight[:, :, 0, 0].T
    torch.testing.assert_close(network(images), pooled)


def test_maps_are_the_activations_weighted_by_the_classifier(images: Tensor) -> None:
    network = tiny()
    hidden = network.head.hidden(network.joined(network.features(images)))  # type: ignore[operator]
    weights = network.head.classifier.weight.detach().numpy()[:, :, 0, 0]
    for found, activations in zip(network.activation_maps(images).detach(), hidden.detach().numpy(), strict=True):
        np.testing.assert_allclose(found, activation_map(weights, activations), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_ranked_pooling_is_a_setting(images: Tensor, decay: float) -> None:
    network = tiny(decay=decay)
    maps = network.activation_maps(images).detach().numpy()
    wanted = [[gwrp(one.ravel(), decay) for one in image] for image in maps]
    np.testing.assert_allclose(network(images).detach(), wanted, rtol=1e-5, atol=1e-7)


def test_log_mean_exp_pooling_is_a_setting(images: Tensor) -> None:
    network = tiny(sharpness=2.0)
    maps = network.activation_maps(images).detach().double().numpy()
    wanted = [[log_mean_exp(one.ravel(), 2.0) for one in image] for image in maps]
    np.testing.assert_allclose(network(images).detach(), wanted, rtol=1e-5, atol=1e-6)


def test_standardized_features_have_mean_0_and_variance_1_whatever_their_size(images: Tensor) -> None:
    head = ActivationMapHead(4, 3, width=8, kernels=(), standardize=True)
    features = torch.randn(6, 4, 5, 5) * torch.tensor([1.0, 100.0, 0.01, 3.0])[:, None, None] + 7
    seen = head.hidden(features)
    torch.testing.assert_close(seen.mean((0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.var((0, 2, 3), correction=0), torch.tensor([1.0, 1, 0.909, 1]), atol=0.1, rtol=0)
    assert len([*head.parameters()]) == 1, "the classifier alone is trained"


def test_relu_follows_the_last_convolution_only_if_set(images: Tensor) -> None:
    for last_relu in (False, True):
        network = tiny(last_relu=last_relu)
        hidden = network.head.hidden(network.joined(network.features(images)))  # type: ignore[operator]
        assert bool((hidden >= 0).all()) is last_relu


def test_scores_from_features_equal_scores_from_images(images: Tensor) -> None:
    network = tiny()
    assert torch.equal(network.classify(network.features(images)), network(images))
    assert torch.equal(network.activation_maps_of(network.features(images)), network.activation_maps(images))


class TwoLevels(Trunk):
    """A fine level, and a coarse level that is computed from it."""

    channels, strides = (2, 3), (2, 4)
    normalization = Normalization((0.0, 0.0, 0.0), (100.0, 100.0, 100.0))
    trained_size = 8
    architecture = "TwoLevels"

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 2, 2, 2), nn.Conv2d(2, 3, 2, 2)

    def forward(self, images: Tensor) -> list[Tensor]:
        fine = self.fine(images)
        return [fine, self.deeper(fine)]

    def deeper(self, fine: Tensor) -> Tensor:
        return torch.relu(self.coarse(fine))


@pytest.mark.parametrize("freeze", [True, False])
def test_saliency_is_the_gradient_of_all_scores_at_the_finest_level_through_the_deeper_levels(freeze: bool) -> None:
    torch.manual_seed(0)
    trunk = TwoLevels()
    network = LocalizationNet(trunk, ActivationMapHead(5, 3, kernels=(), std=None), CLASSES, freeze, 8).double().eval()
    image = torch.randint(0, 256, (1, 3, 8, 8), dtype=torch.uint8)
    units = trunk.fine(network.normalized(image)).detach()

    def total_score(changed: np.ndarray) -> float:
        fine = torch.from_numpy(changed)[None]
        with torch.no_grad():
            return float(network.classify([fine, trunk.deeper(fine)]).sum())

    found = network.saliency(image)
    np.testing.assert_allclose(found[0], saliency(units[0].numpy(), total_score), rtol=1e-6)
    assert found.std() > 0, "without the deeper level it would be the same everywhere"
    assert not found.requires_grad
    with torch.inference_mode():
        assert torch.equal(network.saliency(image), found)


def test_saliency_of_an_image_does_not_depend_on_the_other_images_of_its_batch(images: Tensor) -> None:
    network = tiny()
    torch.testing.assert_close(network.saliency(images)[:1], network.saliency(images[:1]), rtol=1e-4, atol=1e-9)


def test_saliency_leaves_no_gradient_in_the_network(images: Tensor) -> None:
    network = tiny()
    network.saliency(images)
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        ({"kernels": [2]}, "odd sides"),
        ({"decay": 1.5}, r"head\.decay=1.5"),
        ({"sharpness": 0}, r"head\.sharpness=0"),
        ({"dropout": 2.0}, "dropout=2.0"),
        ({"width": 0}, "at least 1"),
        ({"std": 0.0}, r"head\.std=0.0"),
        ({"pooling": "average"}, "pooling"),
    ],
)
def test_settings_out_of_range_are_refused(head: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        tiny(**head)


def test_no_class_is_refused_and_one_is_enough(images: Tensor) -> None:
    with pytest.raises(UserError, match="at least 1 class"):
        build_localization_net(NETWORK, ())
    assert build_localization_net(NETWORK, ("cat",))(images).shape == (2, 1)


def test_messages_about_the_trunk_name_the_keys_of_the_node() -> None:
    node = {**NETWORK, "trunk": {**NETWORK["trunk"], "output_stride": 7}}
    with pytest.raises(UserError, match=r"^localization\.foreground\.network\.trunk\.output_stride=7"):
        build_localization_net(node, CLASSES, key="localization.foreground.network")


def test_an_input_size_that_the_trunk_does_not_support_is_refused_by_the_key_of_the_network() -> None:
    trunk = {"_target_": "secseg.models.timm_trunk.TimmTrunk", "model": "test_vit", "weights": None}
    node = {**NETWORK, "trunk": trunk, "input_size": 321}
    with pytest.raises(UserError, match=r"656 \(a grid of 41 x 41\).*localization\.foreground\.network\.input_size"):
        build_localization_net(node, CLASSES, key="localization.foreground.network")


def test_a_network_read_from_its_file_gives_the_same_maps_and_saliency(tmp_path: Path, images: Tensor) -> None:
    network = tiny()
    network.trunk.normalization = CAFFE_RGB
    node = {**NETWORK, "head": {**NETWORK["head"], "kernels": [1, 3]}}
    write_model(tmp_path / "network.safetensors", network, node)
    loaded = load_localization(tmp_path / "network.safetensors")
    assert torch.equal(loaded.activation_maps(images), network.activation_maps(images))
    assert torch.equal(loaded.saliency(images), network.saliency(images))
    assert (loaded.class_names, loaded.input_size, loaded.training) == (CLASSES, 65, False)
    assert loaded.trunk.normalization == CAFFE_RGB


def test_files_of_other_content_are_refused_with_what_to_give(tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    with pytest.raises(UserError, match="There is no localization network"):
        load_localization(path)
    write_model(path, tiny_network(), BACKBONE)
    with pytest.raises(UserError, match=r"holds a segmentation network\. Give the file of a localization network"):
        load_localization(path)
    write_model(path, build_localization_net(NETWORK, CLASSES), NETWORK)
    with pytest.raises(UserError, match=r"holds a localization network\. Give the file of a segmentation network"):
        secseg.load(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="damaged"):
        load_localization(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="Give the file of a localization network"):
        load_localization(path)
    with pytest.raises(UserError, match="cannot be read"):
        load_localization(write_run(tmp_path / "run") / "checkpoints" / "last.ckpt")


def test_a_file_whose_head_is_not_one_of_a_localization_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    write_model(path, build_localization_net(NETWORK, CLASSES), {**NETWORK, "head": BACKBONE["head"]})
    with pytest.raises(UserError, match=r"The head of the .* cannot be built: .* is no ScoreHead"):
        load_localization(path)
