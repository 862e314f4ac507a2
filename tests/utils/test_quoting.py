"""What a command prints can be pasted: the shell, Hydra and OmegaConf give the same text again."""

from __future__ import annotations

import random
import shlex
import subprocess
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from secseg.utils.quoting import override, shell_command, shell_override

FOLDERS = (
    *(
        "/data/my images",
        "a=b",
        "x,y",
        "Kätzchen",
        "猫/ネコ",
        "it's",
        'a "b"',
        "[1]",
        "{a:1}",
        "a$b",
        "${name}",
        "$HOME",
    ),
    *("2012", "1e5", "null", "True", "inf", "~/data", "a\\b", "\\\\server\\share", "end\\", 'x\\"', "\\${a}", "a#b"),
    *("a b=c,d/ä'\"[$x]", "(a)", "a;b", "a&b", "!a", "*.jpg", "?", "-m", "", " ", "a:b", "C:\\Users\\me", "a\nb"),
)


def read(word: str) -> Any:
    """Return the value of an override, read as Hydra does."""
    parsed = OverridesParser.create().parse_override(word)
    assert not parsed.is_sweep_override()
    config = OmegaConf.create({"data": {"root": None}})
    OmegaConf.update(config, "data.root", parsed.value())
    resolved = OmegaConf.to_container(config, resolve=True)
    assert isinstance(resolved, dict)
    return resolved["data"]["root"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_printed_setting_gives_the_same_folder_again(folder: str) -> None:
    (word,) = shlex.split(shell_override("data.root", folder))
    assert read(word) == folder


def test_any_folder_gives_itself_again() -> None:
    draw = random.Random(0)
    parts = [*"aB7 =,'\"\\${}[]()ä猫\t\n+-./:~#!`*?|&;<>@%", "${", "null", "1", "e"]
    for _ in range(300):
        folder = "".join(draw.choices(parts, k=draw.randint(0, 9)))
        (word,) = shlex.split(shell_override("data.root", folder))
        assert read(word) == folder


def test_usual_settings_are_printed_without_quotes() -> None:
    for folder in ("data/voc", "/work/VOC2012", "runs/sec/2026-11-29_13-10-58", "cues.safetensors", "../a+b"):
        assert shell_override("data.root", folder) == f"data.root={folder}"


def test_a_printed_command_gives_its_words_in_a_real_shell() -> None:
    words = ["python", "src/train.py", *(override("data.root", folder) for folder in FOLDERS)]
    line = shell_command(*words).replace("python", "printf '%s\\0'", 1)
    printed = subprocess.run(["sh", "-c", line], capture_output=True, check=True).stdout
    assert printed.decode().split("\0")[:-1] == words[1:]
