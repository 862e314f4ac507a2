"""No configuration runs foreign code, and what cannot be built is reported in words."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from secseg.utils.config import build, to_plain
from secseg.utils.errors import UserError


class Refusing(nn.Module):
    def __init__(self) -> None:
        raise UserError("in its own words")


@pytest.mark.parametrize(
    "target", ["os.system", "builtins.eval", "subprocess.run", "secsegx.run", "numpy.zeros", "", None]
)
def test_code_outside_the_allowed_packages_is_never_run(target: str | None) -> None:
    with pytest.raises(UserError, match="is not allowed: only what is in secseg, torch, timm, pytorch_lightning"):
        build({"_target_": target, "command": "touch somewhere"}, nn.Module)


@pytest.mark.parametrize(
    "target", ["torch.os.system", "torch.hub.load", "secseg.utils.files.os.system", "torch.nn.Linear"]
)
def test_only_a_class_of_the_kind_that_is_needed_is_made(target: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"_target_={target} is no Optimizer, .*It was not run"):
        build({"_target_": target, "command": f"touch {tmp_path / 'ran'}"}, torch.optim.Optimizer)
    assert not (tmp_path / "ran").exists()


def test_build_says_what_it_cannot_find_or_make(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"secseg\.nothing cannot be found"):
        build({"_target_": "secseg.nothing"}, nn.Module)
    with pytest.raises(UserError, match=r"torch\.nn\.Conv2d cannot be made with widht=3: .*widht"):
        build({"_target_": "torch.nn.Conv2d", "widht": 3}, nn.Module)
    with pytest.raises(UserError, match=r"torch\.optim\.SGD cannot be made with lr=-1: Invalid learning rate"):
        build({"_target_": "torch.optim.SGD", "lr": -1}, torch.optim.Optimizer, params=nn.Linear(1, 1).parameters())
    monkeypatch.setattr(torch.nn, "Conv2d", Refusing)
    with pytest.raises(UserError, match=r"^in its own words$"):
        build({"_target_": "torch.nn.Conv2d"}, nn.Module)


def test_plain_values_are_plain_and_resolved() -> None:
    cfg = OmegaConf.create({"a": {"b": [1, 2]}, "c": "${a.b}"})
    plain = to_plain(cfg)
    assert plain == {"a": {"b": [1, 2]}, "c": [1, 2]}
    assert (type(plain["a"]), type(plain["c"])) == (dict, list)
