"""The units of timm's models whose gradient is the saliency (see ``Trunk.units``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from secseg.models.timm_models import Blocks

DEPTH = 8 / 13
"""The depth of the units in a plain transformer. The paper's conv4_1 is the 8th of the 13 convolutions of VGG-16."""


def unit_module(
    net: nn.Module, stages: Sequence[dict[str, Any]], used: Sequence[dict[str, Any]], channels_first: bool
) -> str | None:
    """Return the name of the module of ``net`` whose output has the units; None if this output is the finest level.

    Args:
        net: of ``create_features``.
        stages, used: all levels of the model, and those that ``net`` returns (see ``Family.stages``).
        channels_first: whether ``net`` returns levels (B, c, h, w).
    """
    if isinstance(net, Blocks):
        return f"model.{stages[max(0, round(DEPTH * (net.indices[-1] + 1)) - 1)]['module']}"
    module = min(used, key=lambda stage: stage["reduction"])["module"]
    names = {f"model.{module}"} if channels_first else {f"model.{module}", module.replace(".", "_")}
    return next((name for name, _ in net.named_modules() if name in names), None)


def insert_units(module: nn.Module, channels: Sequence[int], grid: Sequence[int]) -> list[Tensor]:
    """Let the output of ``module`` be computed from units (B, c, h, w), and return a list that will contain them.

    timm copies the output of a transformer's block or stage before it returns this output as a level. Deeper levels are
    not computed from the copy, so it would have a part of the gradient only. The list stays empty if the output is no
    tensor, or has none of the layouts (B, c, h, w), (B, h, w, c) and (B, tokens, c), the patches last.

    Args:
        channels: the possible values of c.
        grid: (h, w) of tokens.
    """
    kept: list[Tensor] = []

    def insert(_: nn.Module, __: Any, output: Any) -> Tensor | None:
        if not isinstance(output, Tensor):
            return None
        if output.ndim == 4 and output.shape[-1] in channels:
            kept.append(output.movedim(-1, 1))
            return kept[0].movedim(1, -1)
        if output.ndim == 4:
            kept.append(output)
            return None
        others = output.shape[1] - grid[0] * grid[1] if output.ndim == 3 else -1
        if others < 0:
            return None
        prefix, patches = output.tensor_split([others], 1)
        kept.append(patches.transpose(1, 2).unflatten(2, tuple(grid)))
        return torch.cat([prefix, kept[0].flatten(2).transpose(1, 2)], 1)

    module.register_forward_hook(insert)
    return kept
