"""Networks on a fake device, in each precision: forward pass, gradients, an optimizer step, and the way back."""

from __future__ import annotations

import pytest
import torch

from secseg.models import build_network
from secseg.models.head import LargeFOVHead
from secseg.training.optimizers import build_optimizer
from secseg.utils.config import compose, to_plain
from tests.devices.conftest import Plant
from tests.devices.fake import fake_device, needs_fake_cuda

pytestmark = needs_fake_cuda

MOVED = "tests.devices.test_networks.test_a_network_comes_back_from_the_device"


def train_network(backbone: str, device: str) -> dict[str, int]:
    """Run the forward and the backward pass in each precision; return the waits."""
    config = to_plain(compose("train", f"backbone={backbone}", "backbone.freeze=false"))
    network = build_network(config["backbone"], ("background", "cat", "dog"), weights=False)
    with fake_device(device) as fake:
        network.to(fake.device)
        images = torch.zeros(2, 3, 65, 65, dtype=torch.uint8).to(fake.device)
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            with torch.autocast(fake.device.type, dtype, enabled=dtype != torch.float32):
                scores = network(images)
            assert (scores.device, scores.dtype) == (fake.device, dtype)
            scores.float().square().mean().backward()
            gradients = {(parameter.grad.device, parameter.grad.dtype) for parameter in network.parameters()}
            assert gradients == {(fake.device, torch.float32)}
            network.zero_grad()
    return dict(fake.waits)


@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "resnet50", "vgg16_largefov"])
def test_networks_train_in_each_precision_and_never_wait(backbone: str) -> None:
    assert train_network(backbone, "cuda:0") == {}


def test_a_network_trains_on_mps() -> None:
    assert train_network("vgg16_largefov", "mps:0") == {}


def test_a_fault_in_a_network_is_found(plant: Plant) -> None:
    with plant(LargeFOVHead, "reduced") as device:
        train_network("vgg16_largefov", device)


def test_a_network_comes_back_from_the_device() -> None:
    config = to_plain(compose("train", "backbone=vgg16_largefov"))
    network = build_network(config["backbone"], ("background", "cat", "dog"), weights=False)
    with fake_device(meant=[MOVED]) as fake:
        network.to(fake.device)
        optimizer, _ = build_optimizer(network, network.head.classifier, config["optim"], 10)
        network(torch.zeros(1, 3, 65, 65, dtype=torch.uint8).to(fake.device)).sum().backward()
        optimizer.step()
        assert not fake.waits
        network.cpu()
        assert {values.device.type for values in network.state_dict().values()} == {"cpu"}
        assert network(torch.zeros(1, 3, 65, 65, dtype=torch.uint8)).device.type == "cpu"
