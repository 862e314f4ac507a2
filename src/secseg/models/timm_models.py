"""What the families of timm's models have, and do not have, in common: input sizes, output stride, levels."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn

from secseg.models.input_sizes import Grid, nearest_sizes, size_message
from secseg.models.trunk import finest_level
from secseg.utils.errors import UserError

STRIDE = 8
"""The output stride without a setting, of models that timm can dilate."""
TRIES = 16
"""How many sizes below and above one that does not fit a model of fixed size is built for."""


class Family(NamedTuple):
    """What is known of a timm model without its weights.

    Attributes:
        options: names of the arguments of its class.
        fixed: whether it is built for one input size, its argument ``img_size``.
        stages: of each level, timm's ``num_chs``, ``reduction`` and ``module``.
        plain: whether it is a plain transformer: its levels are blocks, all on one grid.
        config: timm's ``pretrained_cfg``: the input that its weights expect, and where they are.
    """

    options: frozenset[str]
    fixed: bool
    stages: tuple[dict[str, Any], ...]
    plain: bool
    config: dict[str, Any]

    def size_options(self, input_size: int) -> dict[str, Any]:
        """Return the arguments for images of ``input_size``; if possible, those for images of any size."""
        if "strict_img_size" in self.options:  # with img_size, windows are shifted wherever the grid has several
            return {"img_size": input_size, "strict_img_size": False}
        if "dynamic_img_size" in self.options:
            return {"dynamic_img_size": True}
        return {"img_size": input_size} if self.fixed else {}

    def default_levels(self) -> tuple[int, ...]:
        """Return the last block of a plain transformer, else the levels of stride 8 and above."""
        if self.plain:
            return (len(self.stages) - 1,)
        return tuple(index for index, stage in enumerate(self.stages) if stage["reduction"] >= STRIDE)


@functools.cache
def family_of(model: str) -> Family:
    """Return the family of a model that timm has.

    Raises:
        UserError: if timm cannot give its feature levels.
    """
    try:
        with torch.device("meta"):
            whole: Any = timm.create_model(model)
            stages = _stages(whole)
            plain = len({stage["reduction"] for stage in stages}) == 1 and hasattr(whole, "prune_intermediate_layers")
            stages = stages if plain else _stages(timm.create_model(model, features_only=True))
    except Exception as error:  # an unknown argument, a module that is not there: families differ
        raise UserError(
            f"timm's {model} cannot serve as a trunk: timm cannot give its feature levels ({_reason(error)}). Choose "
            "another model."
        ) from error
    arguments = (inspect.signature(vars(one).get("__init__", object)).parameters for one in type(whole).__mro__)
    return Family(
        options=frozenset(name for names in arguments for name in names),
        fixed=bool(whole.pretrained_cfg.get("fixed_input_size")),
        stages=stages,
        plain=plain,
        config=dict(whole.pretrained_cfg),
    )


def _stages(net: Any) -> tuple[dict[str, Any], ...]:
    info = getattr(net, "feature_info", ())
    return tuple(dict(stage) for stage in getattr(info, "info", info))


class Blocks(nn.Module):
    """The outputs of blocks of a plain transformer as grids (B, c, h, w), each after the final normalisation.

    Class and register tokens are left out. Blocks that are not needed are removed.

    Args:
        model: timm's whole model.
        indices: of the blocks, ascending, from 0.
        patch: side of a patch in pixels. Images whose sides are not multiples raise a ValueError.
    """

    def __init__(self, model: Any, indices: Sequence[int], patch: int) -> None:
        super().__init__()
        self.indices = list(model.prune_intermediate_layers(list(indices), prune_norm=False, prune_head=True))
        self.model, self.patch = model, patch

    def forward(self, images: Tensor) -> list[Tensor]:
        if images.shape[-2] % self.patch or images.shape[-1] % self.patch:
            raise ValueError(f"its patches have {self.patch} x {self.patch} pixels")
        levels: list[Tensor] = self.model.forward_intermediates(
            images, indices=self.indices, norm=True, output_fmt="NCHW", intermediates_only=True
        )
        return levels


def stride_options(model: str, output_stride: int | None) -> dict[str, Any]:
    """Return the arguments for an output stride; for None those for 8, if timm can dilate the model, else none.

    Raises:
        UserError: if the model cannot have this output stride.
    """
    family = family_of(model)
    own = max(stage["reduction"] for stage in family.stages)
    if output_stride == own or (output_stride is None and family.plain):
        return {}
    options: dict[str, Any] = {"output_stride": output_stride or STRIDE}
    try:
        with torch.device("meta"):
            strides = [stage["reduction"] for stage in _stages(timm.create_model(model, features_only=True, **options))]
        if max(strides) > options["output_stride"]:
            raise NotImplementedError(f"its strides are {strides}")
    except Exception as error:  # an unknown argument, or a stride that this family was not written for
        if output_stride is None:
            return {}
        raise UserError(
            f"backbone.trunk.output_stride={output_stride}: timm's {model} has an output stride of {own}, which cannot "
            f"be changed to this one ({_reason(error)}). Give backbone.trunk.output_stride=null. If an experiment sets "
            "it for another trunk, also give backbone.trunk.levels=null and backbone.input_size=<the backbone's own>."
        ) from error
    return options


def create_features(
    model: str, levels: Sequence[int] | None, size: dict[str, Any], stride: dict[str, Any]
) -> tuple[nn.Module, list[dict[str, Any]]]:
    """Create timm's model of this name as one that returns feature levels, and describe these as ``Family.stages``.

    Raises:
        UserError: if the model does not have these levels.
    """
    family = family_of(model)
    indices = tuple(sorted(set(family.default_levels() if levels is None else levels)))
    if not indices or not 0 <= indices[0] <= indices[-1] < len(family.stages):
        raise UserError(
            f"backbone.trunk.levels={None if levels is None else list(levels)}: timm's {model} has the levels 0 to "
            f"{len(family.stages) - 1}. Give at least one of them, or null."
        )
    if family.plain:
        blocks = Blocks(timm.create_model(model, **size), indices, family.stages[0]["reduction"])
        used = (family.stages[index] for index in indices)
        return blocks, [{**stage, "num_chs": stage.get("num_chs_norm", stage["num_chs"])} for stage in used]
    net: Any = timm.create_model(model, features_only=True, out_indices=indices, **stride, **size)
    return net, net.feature_info.get_dicts()


def check_fixed_size(model: str, levels: Sequence[int] | None, input_size: int) -> None:
    """Refuse an input size that a model cannot be built for. Models that process images of any size are not built.

    Raises:
        UserError: with the nearest sizes that fit.
    """
    family = family_of(model)
    if set(family.size_options(input_size)) != {"img_size"}:
        return
    errors: list[Exception] = []

    def grid_of(size: int) -> Grid | None:
        try:
            with torch.device("meta"), torch.no_grad():
                net, _ = create_features(model, levels, {"img_size": size}, {})
                level = finest_level(net.eval()(torch.empty(1, 3, size, size)))
        except UserError:
            raise
        except Exception as error:  # each family refuses sizes in its own way
            errors.append(error)
            return None
        return int(level.shape[-2]), int(level.shape[-1])

    if grid_of(input_size) is None:
        strides = [stage["reduction"] for stage in family.stages]
        finest = min(strides[index] for index in (family.default_levels() if levels is None else levels))
        sizes = nearest_sizes(input_size, grid_of, finest, max(strides), TRIES)
        raise UserError(size_message(model, input_size, _reason(errors[0]), sizes, "backbone.input_size"))


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
