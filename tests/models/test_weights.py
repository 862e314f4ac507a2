"""Weights are read without running code, and errors say what is wrong with a file."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from secseg.models.weights import check_state_dict, read_weights
from secseg.utils.errors import UserError
from secseg.utils.files import sha256


class Runs:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this ran",)


def test_file_with_code_is_refused_and_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"weight": Runs()}, protocol=2))
    with pytest.raises(UserError, match="cannot be read"):
        read_weights(tmp_path / "evil.pth")
    assert "this ran" not in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_truncated_file_is_refused_by_path(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"weight": torch.zeros(100)}, path)
    else:
        from safetensors.torch import save_file

        save_file({"weight": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=f"{path}.*cannot be read"):
        read_weights(path)


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_a_state_dict_inside_the_dict_of_a_file_is_read(tmp_path: Path, key: str) -> None:
    torch.save({key: {"weight": torch.zeros(2)}, "epoch": 3}, tmp_path / "published.pth")
    assert list(read_weights(tmp_path / "published.pth")) == ["weight"]


@pytest.mark.parametrize("content", [{"weights": {"weight": torch.zeros(2)}}, {"model": {"epoch": 3}}, [1, 2]])
def test_a_file_that_is_not_a_state_dict_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "checkpoint.pth")
    with pytest.raises(UserError, match="not a state dict"):
        read_weights(tmp_path / "checkpoint.pth")


def test_digest_is_checked_before_the_file_is_read(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "weights.pth")
    assert "weight" in read_weights(tmp_path / "weights.pth", sha256(tmp_path / "weights.pth"))
    with pytest.raises(UserError, match="SHA-256 differs"):
        read_weights(tmp_path / "weights.pth", "0" * 64)


def test_one_error_lists_all_tensors_that_do_not_fit() -> None:
    given = {"a": torch.zeros(2), "b": torch.zeros(3), "extra": torch.zeros(1)}
    wanted = {"a": torch.zeros(2), "b": torch.zeros(4), "lost": torch.zeros(5)}
    with pytest.raises(UserError) as caught:
        check_state_dict(given, wanted, "file x")
    for words in ("missing: lost (5,)", "unknown: extra (1,)", "other shape: b is (3,), the network needs (4,)"):
        assert words in str(caught.value)
