"""The fake device finds each kind of fault, and the backward pass on it is that of torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from secseg.crf import CRFParams, build_crf
from secseg.losses import SECLoss, build_terms, seed
from secseg.losses.averages import mean_over_images
from secseg.losses.pooling import Decay
from tests.devices import gradients
from tests.devices.fake import DeviceWait, NoFloat64, fake_device, needs_fake_cuda
from tests.tiny_network import tiny_network

pytestmark = needs_fake_cuda

MIXED = "two different devices|on the same device"


def step(device: str = "cuda:0") -> None:
    """Compute the seed loss of a small head on a fake device, and its gradients."""
    head = torch.nn.Conv2d(4, 3, 1)
    loss = SECLoss(build_terms({"seed": 1.0}), Decay(0.99, 0.0, 0.99))
    with fake_device(device) as fake:
        head.to(fake.device)
        features, cues = (torch.zeros(2, n, 9, 9).to(fake.device) for n in (4, 3))
        with torch.autocast(fake.device.type, torch.bfloat16):
            loss(head(features), {"cues": cues})["loss"].backward()
        assert {parameter.grad.device for parameter in head.parameters()} == {fake.device}


class ReadsInBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0] * float(grads[0].max())


class GradientOnHost(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return torch.zeros(grads[0].shape)


FAULTS: dict[str, tuple[Callable[[Tensor], Tensor], type[Exception], str]] = {
    "a CPU tensor": (lambda x: x + torch.zeros(len(x)), RuntimeError, MIXED),
    "item": (lambda x: x / x.sum().item(), DeviceWait, "waits for the device: aten._local_scalar"),
    "bool": (lambda x: x if x.sum() > 0 else -x, DeviceWait, "_local_scalar_dense"),
    "tolist": (lambda x: x * x.tolist()[0], DeviceWait, "_local_scalar_dense"),
    "cpu": (lambda x: x.cpu(), DeviceWait, "_to_copy"),
    "copy_": (lambda x: torch.zeros(len(x)).copy_(x), DeviceWait, "copy_"),
    "nonzero": (lambda x: x[x.nonzero()], DeviceWait, "nonzero"),
    "a mask": (lambda x: x[x > 0], DeviceWait, "index"),
    "unique": (lambda x: x.unique(), DeviceWait, "_unique2"),
    "an event": (lambda x: [torch.cuda.Event().synchronize(), x][1], DeviceWait, "Event.synchronize"),
    "a read in the backward pass": (ReadsInBackward.apply, DeviceWait, "ReadsInBackward.backward waits"),
    "a gradient on the CPU": (GradientOnHost.apply, RuntimeError, "returned a gradient on cpu"),
}


def planted(fault: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda values, chosen=None: mean_over_images(fault(values), chosen)


@pytest.mark.parametrize("device", ["cuda:0", "mps:0"])
def test_a_step_without_a_fault_passes(device: str) -> None:
    step(device)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_fails_the_step(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, error, message = FAULTS[fault]
    monkeypatch.setattr(seed, "mean_over_images", planted(plant))
    with pytest.raises(error, match=message):
        step()


def test_float64_is_refused_on_mps_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    constant = planted(lambda x: x + torch.ones((), dtype=torch.float64, device=x.device))
    monkeypatch.setattr(seed, "mean_over_images", constant)
    step("cuda:0")
    with pytest.raises(NoFloat64, match="makes a float64 tensor on mps:0"):
        step("mps:0")


def test_a_copy_to_the_device_fails_in_a_function_of_the_package_that_is_not_listed() -> None:
    with fake_device(meant=[]) as fake:
        images = torch.zeros(2, 3, 9, 9, dtype=torch.uint8).to(fake.device)
        with pytest.raises(DeviceWait, match=r"crf\.exact\._grid_kernels waits for the device: aten\._to_copy"):
            build_crf("exact", CRFParams())(torch.zeros(2, 3, 9, 9).to(fake.device), images)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_types_that_an_operation_refuses_fail_under_autocast_alone(dtype: torch.dtype) -> None:
    head = torch.nn.Conv2d(4, 3, 1)

    def mixed(features: Tensor, autocast: bool) -> Tensor:
        with torch.autocast("cuda", dtype, enabled=autocast):
            scores = head(features)
            return torch.lerp(scores, torch.zeros_like(scores, dtype=torch.float32), 0.5)

    with fake_device() as fake:
        head.to(fake.device)
        features = torch.zeros(2, 4, 9, 9).to(fake.device)
        assert mixed(features, autocast=False).dtype == torch.float32
        with pytest.raises(RuntimeError, match="dtype"):
            mixed(features, autocast=True)
        with pytest.raises(RuntimeError, match="should be the same"):
            head(features.half())


def test_the_gradients_are_those_of_torch() -> None:
    found = []
    for backward in (Tensor.backward, gradients.backward):
        network = tiny_network()
        torch.manual_seed(0)
        logits = network(torch.randint(0, 256, (2, 3, 65, 65), dtype=torch.uint8))
        weights = torch.randn(logits.shape[1], 1, 1)
        backward((logits * weights).softmax(1).square().sum())
        found.append([parameter.grad for parameter in network.parameters()])
    for expected, given in zip(*found, strict=True):
        torch.testing.assert_close(given, expected, atol=0, rtol=0)
