"""Tab completion in bash, for each way to call a command."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from secseg.cli.completion import bash_script
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
# What bash does at a tab: the function that is registered for the first word is called, and fills COMPREPLY.
TAB = """
COMP_WORDBREAKS=$1 COMP_LINE=$2 COMP_POINT=${#2}
_secseg_complete
printf '%s\\n' "${COMPREPLY[@]}"
"""
BREAKS = "\"'><=;|&(: "


def completed(line: str, folder: Path, breaks: str = BREAKS, path: str = "") -> list[str]:
    words = ["bash", "-c", f"PATH={path}:$PATH\n{bash_script()}{TAB}", "bash", breaks, line]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True, timeout=60).stdout.split()


def test_the_option_that_installs_prints_the_script() -> None:
    for flag in ("-sc", "--shell-completion"):
        words = [sys.executable, "src/make_cues.py", flag, "install=bash"]
        assert subprocess.check_output(words, cwd=REPOSITORY, text=True) == f"{bash_script()}\n"


@pytest.mark.parametrize("call", [f"{sys.executable} src/train.py", "python3 src/train.py", "secseg-train"])
def test_options_are_completed_however_the_command_is_called(call: str, tmp_path: Path) -> None:
    for name, line in (("python3", f'exec {sys.executable} "$@"'), ("secseg-train", _console_script())):
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    found = completed(f"{call} seed=1 loss=seed", REPOSITORY, path=str(tmp_path))
    assert found == ["seed", "seed_constrain", "seed_expand"], "bash replaces what follows the ="


def _console_script() -> str:
    code = f"import sys; sys.path.insert(0, '{REPOSITORY}/src'); sys.argv[0] = 'secseg-train'"
    return f'exec {sys.executable} -c "{code}; from secseg.cli.train import main; main()" "$@"'


def test_the_whole_word_is_completed_where_bash_does_not_break_it_at_the_sign(tmp_path: Path) -> None:
    line = f"{sys.executable} src/train.py decay.p"
    assert completed(line, REPOSITORY) == ["decay.pooling=", "decay.pos="]
    assert completed(line.replace("decay.p", "loss=seed_c"), REPOSITORY, " ") == ["loss=seed_constrain"]


def test_after_a_space_all_keys_are_offered_and_other_scripts_are_left_alone(tmp_path: Path) -> None:
    assert {"loss=", "decay.", "run_dir="} <= set(completed(f"{sys.executable} src/train.py loss=sec ", REPOSITORY))
    (tmp_path / "other.py").write_text("raise SystemExit('was run')")
    assert completed(f"{sys.executable} other.py lo", tmp_path) == []
    assert completed(f"{sys.executable} ", tmp_path) == []


def test_each_call_is_registered() -> None:
    code = f"{bash_script()}complete -p python3 python3.12 secseg-make-cues secseg-train"
    found = subprocess.check_output(["bash", "-c", code], text=True).splitlines()
    assert len(found) == 4
    assert all("-F _secseg_complete" in line for line in found)


def test_the_option_that_uninstalls_leaves_completions_of_other_programs() -> None:
    words = [sys.executable, "src/make_cues.py", "-sc", "uninstall=bash"]
    removal = subprocess.check_output(words, cwd=REPOSITORY, text=True)
    code = f"{bash_script()}complete -F _other python3.12\n{removal}complete -p; declare -F _secseg_complete"
    left = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=False)
    assert (left.stdout.splitlines(), left.stderr) == (["complete -F _other python3.12"], "")
