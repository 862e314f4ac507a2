"""Any model of timm as a trunk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import Tensor

from secseg.models.cpu import in_phases
from secseg.models.normalization import from_unit_range
from secseg.models.trunk import Trunk
from secseg.models.weights import check_state_dict, download, read_weights
from secseg.utils.checks import check_choice, refuse
from secseg.utils.errors import UserError, listing, nearest


class TimmTrunk(Trunk):
    """The feature levels of a timm model.

    Args:
        model: its name in timm (``timm.list_models()``).
        weights: ``imagenet`` (timm's own, downloaded), the path of a state dict of the whole model, or None.
        output_stride: 8, 16, or 32 for the model as it is. Larger strides become dilation, with the same weights.
        levels: indices of the feature levels (timm's ``out_indices``), from 0; None for all of stride 8 and above.
        load: whether to read the weights. They are not needed if a checkpoint is loaded next.

    Raises:
        UserError: for an unknown model, one that does not support these strides or levels, or weights that do not fit.
    """

    def __init__(
        self,
        model: str | None,
        weights: str | None = "imagenet",
        output_stride: int = 8,
        levels: Sequence[int] | None = None,
        load: bool = True,
    ) -> None:
        super().__init__()
        if not model:
            raise UserError("backbone=timm needs backbone.trunk.model=<name>. timm.list_models() returns the names.")
        if model.split(".")[0] not in timm.list_models():
            raise UserError(f"timm has no model '{model}'.{nearest(model, timm.list_models())}")
        refuse(check_choice("backbone.trunk.output_stride", output_stride, (8, 16, 32)))
        net = _features_of(model, output_stride, levels)
        self.model, self.output_stride = model, output_stride
        self.channels = tuple(net.feature_info.channels())
        self.strides = tuple(net.feature_info.reduction())
        self._config: dict[str, Any] = net.pretrained_cfg
        self.normalization = from_unit_range(self._config["mean"], self._config["std"])
        self.trained_size = self._config["input_size"][-1]
        self.architecture = model
        # Some transformers return channels last.
        self.channels_first = getattr(net, "output_fmt", "NCHW") != "NHWC"
        in_phases(net)
        self.net = net
        if weights is not None and load:
            self._load(self._state(weights), f"file {weights}" if weights != "imagenet" else f"model {model}")

    def forward(self, images: Tensor) -> list[Tensor]:
        levels = self.net(images)
        return levels if self.channels_first else [level.permute(0, 3, 1, 2) for level in levels]

    def _state(self, weights: str) -> dict[str, Tensor]:
        """Return the state dict of the whole model."""
        if weights != "imagenet":
            return read_weights(weights)
        hub, address = self._config.get("hf_hub_id"), self._config.get("url")
        address = f"https://huggingface.co/{hub}" if hub else address
        if not address:
            raise UserError(f"timm has no weights for {self.model}: give backbone.trunk.weights=<path>, or null.")
        whole = download(lambda: timm.create_model(self.model, pretrained=True), f"timm's {self.model}", address)
        return whole.state_dict()

    def _load(self, state: dict[str, Tensor], what: str) -> None:
        with torch.device("meta"):
            wanted = timm.create_model(self.model).state_dict()
        check_state_dict(state, wanted, what)
        # features_only renames modules: blocks.0 becomes blocks_0, or all modules are put into one called model.
        sources = {name.replace("_", "."): name for name in state}
        names = {name: sources.get(name.removeprefix("model.").replace("_", ".")) for name in self.net.state_dict()}
        if len(sources) < len(state) or None in names.values():
            lost = [name for name, source in names.items() if source is None]
            raise UserError(
                f"timm uses other names for the tensors of {self.model} with features_only=True, and these have no "
                f"counterpart in the weights:\n{listing(lost)}\nUse another model."
            )
        self.net.load_state_dict({name: state[source] for name, source in names.items() if source})


def _features_of(model: str, output_stride: int, levels: Sequence[int] | None) -> Any:
    """Create timm's model of this name as one that returns feature levels."""
    options: dict[str, Any] = {"features_only": True}
    if output_stride != 32:
        options["output_stride"] = output_stride
    if levels is not None:
        if not levels or min(levels) < 0:
            raise UserError(f"backbone.trunk.levels={list(levels)}: give indices from 0 on, at least one, or null.")
        options["out_indices"] = tuple(sorted(set(levels)))
    try:
        if levels is None:
            with torch.device("meta"):
                whole: Any = timm.create_model(model, **options)
            stages = enumerate(whole.feature_info.info)
            options["out_indices"] = tuple(index for index, stage in stages if stage["reduction"] >= 8)
        return timm.create_model(model, **options)
    except (RuntimeError, NotImplementedError, AssertionError, TypeError, ValueError, IndexError) as error:
        raise UserError(
            f"timm's {model} cannot serve as a trunk at output stride {output_stride}: "
            f"{str(error) or type(error).__name__}. Try backbone.trunk.output_stride=16 or 32, other "
            "backbone.trunk.levels, or a convolutional model (resnet50, efficientnet_b0, ...)."
        ) from error
