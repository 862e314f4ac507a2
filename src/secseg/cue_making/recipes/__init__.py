"""Cue recipes: how the maps of an image become its localization cues, one recipe a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secseg.cue_making.recipes.base import CueInputs, CueRecipe
from secseg.utils.config import build

__all__ = ["MAP_KEYS", "CueInputs", "CueRecipe", "build_recipe", "recipe_node"]

MAP_KEYS = ("scales", "mirror", "grid")
"""Keys of ``conf/cues`` about the maps, in the order of ``MapSettings``; the other keys are the recipe's."""


def recipe_node(cues: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a node of ``conf/cues`` that describes the recipe."""
    return {key: value for key, value in cues.items() if key not in MAP_KEYS}


def build_recipe(cues: Mapping[str, Any]) -> CueRecipe:
    """Build the recipe of a node of ``conf/cues``.

    Raises:
        UserError: for a class that is not a recipe, or settings that do not fit.
    """
    return build(recipe_node(cues), CueRecipe)
