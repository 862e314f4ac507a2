"""Messages name a command as the user called it: by a script, an interpreter or an installed command."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from secseg.utils import program as program_module
from secseg.utils.program import COMMANDS, command, console_script, program
from tests.conftest import REPOSITORY
from tests.test_packaging import PROJECT


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """As if the shell had started this process with these words."""
    monkeypatch.setattr(sys, "orig_argv", list(words))
    monkeypatch.setattr(sys, "argv", list(words[1:] if words[0].rpartition("/")[2].startswith("python") else words))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["python", "src/train.py"], "python src/predict.py ckpt=a"),
        (["python3", "src/train.py"], "python3 src/predict.py ckpt=a"),
        ([".venv/bin/python", "../src/make_cues.py", "data=folder"], ".venv/bin/python ../src/predict.py ckpt=a"),
        (["python", "train.py"], "python predict.py ckpt=a"),
        (["/usr/bin/python3", "/my code/src/train.py"], "/usr/bin/python3 '/my code/src/predict.py' ckpt=a"),
        ([".venv/bin/secseg-make-cues"], ".venv/bin/secseg-predict ckpt=a"),
        (["C:/env/Scripts/secseg-train.exe"], "C:/env/Scripts/secseg-predict.exe ckpt=a"),
        (["pytest", "tests"], "python src/predict.py ckpt=a"),
    ],
)
def test_a_command_is_written_as_the_user_called_this_one(
    words: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(monkeypatch, *words)
    assert command("predict", "ckpt=a") == expected


def test_an_installed_command_that_the_shell_finds_has_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("secseg-train", "secseg-prepare-voc"):
        (tmp_path / name).touch(0o755)
    call(monkeypatch, f"{tmp_path}/secseg-train")  # Linux gives scripts their whole path
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program("prepare_voc") == ["secseg-prepare-voc"]
    monkeypatch.setenv("PATH", "/")
    assert program("prepare_voc") == [f"{tmp_path}/secseg-prepare-voc"]


def test_without_a_checkout_another_process_names_the_installed_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(monkeypatch, "python", "-m")
    monkeypatch.setattr(program_module, "_SRC", tmp_path)
    assert program("make_cues") == ["secseg-make-cues"]


def test_the_commands_are_the_scripts_and_those_that_are_installed() -> None:
    assert set(COMMANDS) == {path.stem for path in (REPOSITORY / "src").glob("*.py")}
    assert set(map(console_script, COMMANDS)) == set(PROJECT["scripts"])
