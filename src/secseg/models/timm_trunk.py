"""Any model of timm as a trunk."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import timm
from torch import Tensor

from secseg.models.cpu import in_phases
from secseg.models.normalization import from_unit_range
from secseg.models.pretraining import pretraining_of, timm_pretraining
from secseg.models.timm_models import Blocks, check_fixed_size, create_features, family_of, stride_options
from secseg.models.timm_units import insert_units, unit_module
from secseg.models.timm_weights import downloaded, fitted
from secseg.models.trunk import Trunk, finest_level
from secseg.models.weights import read_weights
from secseg.utils.checks import check_choice, refuse
from secseg.utils.errors import UserError, listing, nearest


class TimmTrunk(Trunk):
    """The feature levels of a timm model: stages, or blocks of a plain transformer without class and register tokens.

    Position embeddings are resampled to the size of the input, as timm does.

    Args:
        model: its name in timm (``timm.list_models()``).
        weights: ``imagenet`` (timm's own, downloaded), the path of a state dict of the whole model, with timm's names
            or as its authors publish it, or None.
        output_stride: 8, 16 or 32. Larger strides become dilation, with the same weights. None for 8 if timm can
            dilate the model, else for the model as it is.
        levels: indices of the feature levels (timm's ``out_indices``), from 0. None for all of stride 8 and above; of a
            plain transformer, whose levels are blocks, for the last one.
        load: whether to read the weights. They are not needed if a checkpoint is loaded next.
        input_size: side of the images in pixels, for models that are built for one size; None for ``trained_size``.

    Raises:
        UserError: for an unknown model, one that does not support these strides, levels or images, or weights that do
            not fit.
    """

    takes_input_size = True

    def __init__(
        self,
        model: str | None,
        weights: str | None = "imagenet",
        output_stride: int | None = None,
        levels: Sequence[int] | None = None,
        load: bool = True,
        input_size: int | None = None,
    ) -> None:
        super().__init__()
        if not model:
            raise UserError("backbone=timm needs backbone.trunk.model=<name>. timm.list_models() returns the names.")
        if model.split(".")[0] not in timm.list_models():
            raise UserError(f"timm has no model '{model}'.{nearest(model, timm.list_models())}")
        if output_stride is not None:
            refuse(check_choice("backbone.trunk.output_stride", output_stride, (8, 16, 32)))
        family = family_of(model)
        self.trained_size = family.config["input_size"][-1]
        size = input_size or self.trained_size
        check_fixed_size(model, levels, size)
        self._size_options = family.size_options(size)
        net, self._stages = create_features(model, levels, self._size_options, stride_options(model, output_stride))
        self.model = model
        self.channels = tuple(stage["num_chs"] for stage in self._stages)
        self.strides = tuple(stage["reduction"] for stage in self._stages)
        self.normalization = from_unit_range(family.config["mean"], family.config["std"])
        # Tensors of two choices of blocks can have the same names and shapes.
        blocks = f" (blocks {', '.join(map(str, net.indices))})" if isinstance(net, Blocks) else ""
        self.architecture = f"{model}{blocks}"
        # Some transformers return channels last.
        self.channels_first = getattr(net, "output_fmt", "NCHW") != "NHWC"
        self.pretraining = pretraining_of(weights, timm_pretraining(model))
        in_phases(net)
        self.net = net
        self._unit_module = unit_module(net, family.stages, self._stages, self.channels_first)
        if weights is not None and load:
            self._load(self._state(weights), f"file {weights}" if weights != "imagenet" else f"model {model}")

    def forward(self, images: Tensor) -> list[Tensor]:
        levels = self.net(images)
        return levels if self.channels_first else [level.permute(0, 3, 1, 2) for level in levels]

    def units(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the units and the levels. The units of a plain transformer are the output of a block at 8/13 of its
        depth, those of other models the finest level.
        """
        if self._unit_module is None:
            return super().units(images)
        # A hook on the trunk itself would also see the images of other threads.
        shared = {id(tensor): tensor for tensor in (*self.parameters(), *self.buffers())}
        own = copy.deepcopy(self, dict(shared))
        grid = [side // min(self.strides) for side in images.shape[-2:]]
        kept = insert_units(own.net.get_submodule(self._unit_module), self.channels, grid)
        levels = own(images)
        return (kept[0] if kept else finest_level(levels)), levels

    def _state(self, weights: str) -> dict[str, Tensor]:
        """Return the state dict of the whole model, as it is published."""
        return downloaded(self.model, self._size_options) if weights == "imagenet" else read_weights(weights)

    def _load(self, state: dict[str, Tensor], what: str) -> None:
        state = fitted(state, self.model, self._size_options, what)
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
