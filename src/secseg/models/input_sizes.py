"""Which sizes of the input a trunk can process, and the grids that they give. No features are computed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch import nn

from secseg.models.trunk import Trunk, finest_level
from secseg.utils.errors import UserError

Grid = tuple[int, int]

REACH = 64
"""How many sizes below and above one that does not fit are tried."""
NEAR = 32
"""How far from the size that a scale gives the size that is used may be, in pixels."""
SEC_GRID = 41
"""Cells along a side of the paper's grid."""


class InputSizes:
    """The grid (h, w) of the finest level of a trunk, by the side of square images in pixels.

    A copy of the trunk without data (on torch's meta device) processes images without data.
    """

    def __init__(self, trunk: Trunk) -> None:
        empty: dict[int, torch.Tensor] = {id(p): nn.Parameter(p.to("meta"), False) for p in trunk.parameters()}
        empty |= {id(buffer): buffer.to("meta") for buffer in trunk.buffers()}
        self._trunk = copy.deepcopy(trunk, dict(empty)).eval()
        self._grids: dict[int, Grid | Exception] = {}

    def grid(self, side: int, key: str = "backbone.input_size") -> Grid:
        """Return the grid for images of ``side`` pixels.

        Args:
            key: the setting that ``side`` comes from, for the message.

        Raises:
            UserError: if the trunk cannot process them, with the nearest sizes that it can process.
        """
        found = self._grid_or_error(side)
        if not isinstance(found, Exception):
            return found
        sizes = nearest_sizes(side, self._fitting, min(self._trunk.strides))
        raise UserError(size_message(self._trunk.architecture, side, str(found), sizes, key)) from found

    def nearest(self, side: int, key: str) -> int:
        """Return the size that the trunk can process and that is nearest to ``side``: ``side`` itself, if it fits.

        Raises:
            UserError: if the nearest one is more than ``NEAR`` pixels away. Arguments as for ``grid``.
        """
        for distance in range(NEAR + 1):
            for size in (side - distance, side + distance):
                if size > 0 and self._fitting(size):
                    return size
        return self.grid(side, key)[0]

    def _fitting(self, side: int) -> Grid | None:
        found = self._grid_or_error(side)
        return None if isinstance(found, Exception) else found

    def _grid_or_error(self, side: int) -> Grid | Exception:
        if side not in self._grids:
            try:
                with torch.no_grad():
                    level = finest_level(self._trunk(torch.empty(1, 3, side, side, device="meta")))
                self._grids[side] = (int(level.shape[-2]), int(level.shape[-1]))
            except Exception as error:  # each model refuses sizes in its own way
                self._grids[side] = error
        return self._grids[side]


def nearest_sizes(
    side: int, grid_of: Callable[[int], Grid | None], stride: int, step: int = 1, tries: int = REACH
) -> dict[int, Grid]:
    """Return the nearest sizes below and above ``side`` that fit, and one with the paper's grid, with their grids.

    Args:
        side: a size that does not fit.
        grid_of: the grid of a size, or None if it does not fit.
        stride: of the grid.
        step: only multiples of it are tried.
        tries: how many of them, on each side.
    """
    below, above = -(-side // step) - 1, side // step + 1
    found = {}
    for multiples in (range(below, max(0, below - tries), -1), range(above, above + tries)):
        for size in (step * multiple for multiple in multiples):
            if grid := grid_of(size):
                found[size] = grid
                break
    if grid_of(SEC_GRID * stride) == (SEC_GRID, SEC_GRID):
        found[SEC_GRID * stride] = (SEC_GRID, SEC_GRID)
    return found


def size_message(what: str, side: int, reason: str, sizes: Mapping[int, Grid], key: str) -> str:
    """Return the message for images that a trunk cannot process, with the ``sizes`` that it can process.

    Args:
        key: the setting that ``side`` comes from.
    """
    first = f"The trunk {what} cannot process images of {side} x {side}"
    if reason:
        first = f"{first}: {reason.partition(chr(10))[0].rstrip('.')}"
    if not sizes:
        return f"{first}. No size nearby fits. Change {key}."
    fitting = ", ".join(f"{size} (a grid of {grid[0]} x {grid[1]})" for size, grid in sorted(sizes.items()))
    return f"{first}. Sizes that fit: {fitting}. Change {key}."
