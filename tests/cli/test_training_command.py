"""The training command that ``src/make_cues.py`` prints."""

from __future__ import annotations

import pytest

from secseg.cli import make_cues


@pytest.mark.parametrize(
    ("localization", "recipe"),
    [([], "own_images"), (["localization=efficientnet_lite0_fast"], "own_images_fast")],
    ids=["default", "fast"],
)
def test_fast_cues_are_followed_by_the_fast_recipe(
    localization: list[str], recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"task": [*localization, "data=folder", "data.root=photos"], "hydra": []}
    monkeypatch.setattr(make_cues, "given_settings", lambda kind="task": given[kind])
    printed = make_cues.training_command("photos/cues.safetensors")
    wanted = f"experiment={recipe} data.root=photos data.cues=photos/cues.safetensors"
    assert printed.endswith(f"train.py {wanted}")
