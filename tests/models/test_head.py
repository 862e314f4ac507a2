"""The LargeFOV head: the layers of the prototxt, the initialisation of the classifier, dropout of elements."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from secseg.models import LargeFOVHead
from secseg.utils.errors import UserError


def test_paper_head_has_the_prototxts_layers() -> None:
    head = LargeFOVHead(512, 21)
    assert (head.fc6.in_channels, head.fc6.out_channels) == (512, 1024)
    assert (head.fc6.kernel_size, head.fc6.dilation, head.fc6.padding) == ((3, 3), (12, 12), (12, 12))
    assert head.fc7.weight.shape == (1024, 1024, 1, 1)
    assert head.classifier.weight.shape == (21, 1024, 1, 1)
    assert head.dropout.p == 0.5
    assert isinstance(head.reduce, nn.Identity)


def test_layers_run_in_the_prototxts_order() -> None:
    head = LargeFOVHead(4, 3, width=8, dilation=2).eval()
    x = torch.randn(2, 4, 9, 9)
    wanted = head.classifier(head.fc7(head.fc6(x).relu()).relu())
    assert torch.equal(head(x), wanted)


def test_classifier_is_initialised_with_standard_deviation_one_hundredth_and_no_bias() -> None:
    torch.manual_seed(0)
    head = LargeFOVHead(8, 21, width=4096)
    assert head.classifier.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert head.classifier.weight.mean().item() == pytest.approx(0, abs=1e-4)
    assert not head.classifier.bias.any()


def test_dropout_drops_elements_not_channels() -> None:
    torch.manual_seed(0)
    head = LargeFOVHead(4, 3, width=8, dilation=1).train()
    for layer in (head.fc6, head.fc7):
        nn.init.zeros_(layer.weight)
        nn.init.ones_(layer.bias)
    seen = []
    head.dropout.register_forward_hook(lambda module, inputs, output: seen.append(output))
    head(torch.zeros(1, 4, 16, 16))
    assert len(seen) == 2
    for output in seen:
        kept = (output > 0).float().mean((0, 2, 3))  # share of elements that each channel keeps
        assert ((kept > 0.25) & (kept < 0.75)).all()


def test_reduce_puts_a_narrow_convolution_before_fc6() -> None:
    head = LargeFOVHead(64, 3, width=8, reduce=16)
    assert head.fc6.in_channels == 16
    assert head(torch.zeros(1, 64, 5, 5)).shape == (1, 3, 5, 5)


def test_reducing_each_level_on_its_own_grid_equals_reducing_their_concatenation() -> None:
    torch.manual_seed(0)
    head = LargeFOVHead(12, 3, width=8, dilation=2, reduce=6).eval()
    levels = [torch.randn(2, 4, 9, 9), torch.randn(2, 5, 5, 5), torch.randn(2, 3, 3, 4)]
    grids = [F.interpolate(level, (9, 9), mode="bilinear", align_corners=True) for level in levels]
    wanted = head.reduce(torch.cat(grids, 1))
    torch.testing.assert_close(head.reduced(levels), wanted, atol=1e-6, rtol=0)
    torch.testing.assert_close(head(*levels), head.classifier(head.fc7(head.fc6(wanted).relu()).relu()))
    one = torch.randn(2, 12, 9, 9)
    assert torch.equal(head.reduced([one]), head.reduce(one))


@pytest.mark.parametrize("classes", [0, 1])
def test_fewer_than_two_classes_are_refused(classes: int) -> None:
    with pytest.raises(UserError, match="at least 2 classes"):
        LargeFOVHead(4, classes)


@pytest.mark.parametrize("wrong", [{"width": 0}, {"dilation": 0}, {"dropout": 1.5}, {"reduce": -1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}"):
        LargeFOVHead(4, 3, **wrong)
