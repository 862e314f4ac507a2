"""Which precision ``auto`` means on a device."""

from __future__ import annotations

import pytest
import torch

from secseg.utils.precision import multiplies_in_bfloat16, resolve_precision


@pytest.mark.parametrize("has_it", [True, False])
@pytest.mark.parametrize("accelerator", ["auto", "cpu", "gpu", "cuda"])
def test_auto_is_bfloat16_where_the_device_has_it(
    accelerator: str, has_it: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_gpu = accelerator != "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: on_gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: on_gpu and has_it)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: not on_gpu and has_it)
    assert resolve_precision("auto", accelerator) == ("bf16-mixed" if has_it else "32-true")


def test_a_precision_that_is_named_is_taken() -> None:
    for precision in ("32-true", "bf16-mixed", "16-mixed"):
        assert resolve_precision(precision, "cpu") == precision


def test_this_machines_cpu_and_a_mac_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert multiplies_in_bfloat16("cpu") in (True, False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert not multiplies_in_bfloat16("mps")
    assert not multiplies_in_bfloat16("auto")
