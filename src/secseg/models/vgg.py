"""VGG-16 and its weights: the paper's trunks for segmentation (DeepLab-CRF-LargeFOV) and for localization."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from secseg.models.files.caffe import SUFFIX, import_caffe, read_caffe
from secseg.models.normalization import CAFFE, CAFFE_RGB, TORCHVISION, Normalization
from secseg.models.pretraining import CLASSES, pretraining_of
from secseg.models.trunk import Trunk
from secseg.models.weights import check_state_dict, download, read_weights
from secseg.utils.checks import check_choice, refuse
from secseg.utils.errors import UserError
from secseg.utils.files import sha256

log = logging.getLogger(__name__)

# The start of the SHA-256 of IMAGENET1K_FEATURES, at the end of the file's name in torchvision.
FEATURES_DIGEST = "88682ab5"
NORMALIZATIONS = {"torchvision": TORCHVISION, "features": CAFFE_RGB, "caffe": CAFFE}
# The two localization networks subtract a mean with more digits than the segmentation network.
CAFFE_FINE = Normalization((104.008, 116.669, 122.675), (1.0, 1.0, 1.0), "bgr")
# Stages of VGG-16: output channels of the convolutions, and the index of each in torchvision.
STAGES = (
    ((64, 64), (0, 2)),
    ((128, 128), (5, 7)),
    ((256, 256, 256), (10, 12, 14)),
    ((512, 512, 512), (17, 19, 21)),
    ((512, 512, 512), (24, 26, 28)),
)
# Strides of the max pools (official prototxt): the last two keep the resolution.
POOL_STRIDES = (2, 2, 2, 1, 1)
CONV5_DILATION = 2
# The fully connected layers of torchvision's VGG-16 (output, input features).
FULLY_CONNECTED = {"classifier.0": (4096, 512 * 7 * 7), "classifier.3": (4096, 4096), "classifier.6": (1000, 4096)}
# The layers of the paper's head that a Caffe model has weights for.
HEAD = {"fc6.weight": (1024, 512, 3, 3), "fc6.bias": (1024,), "fc7.weight": (1024, 1024, 1, 1), "fc7.bias": (1024,)}


class VGG16(Trunk):
    """The convolutions of VGG-16, each followed by ReLU, with the given pools: one level of 512 channels.

    Args:
        pools: the pool after each of the five stages; None for none.
        strides: of the level.
        dilation: of conv5.
        weights: ``imagenet`` (torchvision's IMAGENET1K_V1), ``imagenet_features`` (IMAGENET1K_FEATURES, Caffe's weights
            without valid fully connected layers), the path of a ``.caffemodel`` or of a state dict with torchvision's
            names, of the whole network or of the convolutions alone (``features.*``), or None.
        normalization: what the weights expect: ``torchvision``, ``features`` (RGB minus the mean, unscaled) or
            ``caffe`` (BGR minus the mean, unscaled). None depends on ``weights``: Caffe's for a ``.caffemodel`` or no
            weights, torchvision's for another path. That path must have IMAGENET1K_V1's fully connected layers.
        load: whether to read the weights. They are not needed if a checkpoint is loaded next.

    Raises:
        UserError: for weights that do not fit.
    """

    channels = (512,)
    trained_size = 321
    normalizations: Mapping[str, Normalization] = NORMALIZATIONS
    # The tensors of the head that a Caffe model must contain, too, and their shapes.
    caffe_head: Mapping[str, tuple[int, ...]] = {}

    def __init__(
        self,
        pools: Sequence[nn.Module | None],
        strides: tuple[int],
        dilation: int = 1,
        weights: str | None = "imagenet",
        normalization: str | None = None,
        load: bool = True,
    ) -> None:
        super().__init__()
        self.strides, self.architecture = strides, type(self).__name__
        self.pretraining = pretraining_of(weights, CLASSES)
        from_caffe = weights is not None and weights.endswith(SUFFIX)
        default = {None: "caffe", "imagenet_features": "features"}.get(weights, "torchvision")
        chosen = normalization or ("caffe" if from_caffe else default)
        refuse(check_choice("backbone.trunk.normalization", chosen, self.normalizations))
        self.normalization = self.normalizations[chosen]
        self.layers = nn.Sequential()
        channels = 3
        for stage, ((widths, _), pool) in enumerate(zip(STAGES, pools, strict=True), 1):
            rate = dilation if stage == 5 else 1
            for number, width in enumerate(widths, 1):
                conv = nn.Conv2d(channels, width, 3, padding=rate, dilation=rate)
                self.layers.add_module(f"conv{stage}_{number}", conv)
                self.layers.add_module(f"relu{stage}_{number}", nn.ReLU(inplace=True))
                channels = width
            if pool is not None:
                self.layers.add_module(f"pool{stage}", pool)
        self._fully_connected: dict[str, Tensor] | None = None
        if weights is not None and load and from_caffe:
            self._load_caffe(weights)
        elif weights is not None and load:
            self._load(self._state(weights), weights, normalization is not None)

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self.layers(images)]

    def units(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return conv4_1 before its ReLU, and the level.

        Source: the layer is the paper's. It is taken before the ReLU, since Caffe's ReLU works in place.
        """
        end = [name for name, _ in self.layers.named_children()].index("conv4_1") + 1
        units = self.layers[:end](images)
        return units, [self.layers[end:](units.clone())]  # the ReLU would overwrite the units

    def _state(self, weights: str) -> dict[str, Tensor]:
        from torchvision.models import VGG16_Weights  # slow to import, and not needed to load a checkpoint

        sources = {"imagenet": VGG16_Weights.IMAGENET1K_V1, "imagenet_features": VGG16_Weights.IMAGENET1K_FEATURES}
        if weights in sources:
            source = sources[weights]
            return download(lambda: source.get_state_dict(check_hash=True), f"torchvision's {source}", source.url)
        return read_weights(weights)

    def _load_caffe(self, path: str) -> None:
        own = self.state_dict()
        head = {name: torch.empty(shape, device="meta") for name, shape in self.caffe_head.items()}
        imported = import_caffe(read_caffe(path), {**own, **head}, path)
        log.info("Weights of %s:\n%s\nThe classifier (fc8) is initialised at random.", path, imported.table())
        self.load_state_dict({name: imported.state[name] for name in own})
        self._fully_connected = {name: imported.state[name] for name in head}

    def _load(self, state: dict[str, Tensor], weights: str, normalization_given: bool) -> None:
        names = {
            f"features.{index}.{part}": f"layers.conv{stage}_{number}.{part}"
            for stage, (_, indices) in enumerate(STAGES, 1)
            for number, index in enumerate(indices, 1)
            for part in ("weight", "bias")
        }
        own = self.state_dict()
        wanted = {theirs: own[ours] for theirs, ours in names.items()}
        convolutions_alone = not any(name.startswith("classifier.") for name in state)
        for name, size in () if convolutions_alone else FULLY_CONNECTED.items():
            weight = torch.empty(size, device="meta")
            wanted[f"{name}.weight"], wanted[f"{name}.bias"] = weight, weight[:, 0]
        check_state_dict(state, wanted, f"{weights} for VGG-16")
        self.load_state_dict({ours: state[theirs] for theirs, ours in names.items()})
        fully_connected = {} if convolutions_alone or _features_alone(weights) else subsample(state)
        if fully_connected and all(bool(tensor.isfinite().all()) for tensor in fully_connected.values()):
            self._fully_connected = fully_connected
        elif weights != "imagenet_features" and not normalization_given:
            raise UserError(
                f"{weights} has no valid fully connected layers, like torchvision's IMAGENET1K_FEATURES, which expects "
                "another input than IMAGENET1K_V1. State the input that this file expects: "
                "backbone.trunk.normalization=features (IMAGENET1K_FEATURES: RGB minus the mean), caffe (BGR minus the "
                "mean) or torchvision."
            )


class VGG16LargeFOV(VGG16):
    """conv1_1 to pool5a of the official prototxt: one level of 512 channels at stride 8 (321 to 41).

    The pools round up, as in Caffe, so that the grid is Caffe's for every image size. For the arguments, see ``VGG16``.
    """

    caffe_head = HEAD

    def __init__(self, weights: str | None = "imagenet", normalization: str | None = None, load: bool = True) -> None:
        pools = [nn.MaxPool2d(3, stride, padding=1, ceil_mode=True) for stride in POOL_STRIDES]
        super().__init__(pools, (8,), CONV5_DILATION, weights, normalization, load)
        self.layers.add_module("pool5a", nn.AvgPool2d(3, 1, padding=1))
        if weights is not None and load and self._fully_connected is None:
            warnings.warn(
                f"The weights {weights} have no valid fc6 and fc7. Both are initialised at random.", stacklevel=2
            )

    def head_weights(self) -> dict[str, Tensor] | None:
        """Return fc6 and fc7 of a Caffe model, or of ``subsample``, for a head of width 1024; None if there are none.

        A second call returns None, since the trunk does not keep them.
        """
        kept, self._fully_connected = self._fully_connected, None
        return kept


class PooledVGG16(VGG16):
    """VGG-16 without dilation. The first ``pool_count`` stages end in Caffe's 2 x 2 pool, which rounds up."""

    normalizations: Mapping[str, Normalization] = {**NORMALIZATIONS, "caffe": CAFFE_FINE}
    pool_count: int

    def __init__(self, weights: str | None = "imagenet", normalization: str | None = None, load: bool = True) -> None:
        pools = [nn.MaxPool2d(2, 2, ceil_mode=True) if stage < self.pool_count else None for stage in range(5)]
        super().__init__(pools, (2**self.pool_count,), weights=weights, normalization=normalization, load=load)


class ForegroundVGG16(PooledVGG16):
    """The trunk of the paper's foreground network, without pool4 and pool5: 321 to 41."""

    pool_count = 3


class BackgroundVGG16(PooledVGG16):
    """The trunk of the paper's background network, with all five pools: 321 to 11."""

    pool_count = 5


def _features_alone(weights: str) -> bool:
    """Return whether these are torchvision's IMAGENET1K_FEATURES, which lack the classifier's weights, in any file."""
    if weights in ("imagenet", "imagenet_features"):
        return weights == "imagenet_features"
    return sha256(Path(weights).expanduser()).startswith(FEATURES_DIGEST)


def subsample(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Turn the fully connected layers of VGG into fc6 (1024, 512, 3, 3) and fc7 (1024, 1024, 1, 1) of the head.

    Keep every fourth of the 4096 units, and every third row and column of the 7 x 7 kernel. Subsampling is DeepLab's
    idea. Which units and rows its "20M" file kept is not known: this choice is ours.

    Args:
        state: contains ``classifier.0`` and ``classifier.3`` of torchvision's VGG-16.
    """
    fc6 = state["classifier.0.weight"].view(4096, 512, 7, 7)
    return {
        "fc6.weight": fc6[::4, :, ::3, ::3].clone(),
        "fc6.bias": state["classifier.0.bias"][::4].clone(),
        "fc7.weight": state["classifier.3.weight"][::4, ::4, None, None].clone(),
        "fc7.bias": state["classifier.3.bias"][::4].clone(),
    }
