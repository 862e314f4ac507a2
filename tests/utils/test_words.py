"""Paths on the command line are taken literally, and what a command prints can be given again."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest

from secseg.utils.config import config_dir
from secseg.utils.errors import UserError
from secseg.utils.words import TEXTS, hydra_words
from tests.cli.test_cli import run
from tests.conftest import REPOSITORY
from tests.utils.test_quoting import read

# Stands for the training: it prints its folder and its command.
SHOW = """
import json, sys
from pathlib import Path
sys.path.insert(0, {source!r})
from secseg.cli.command import command_line, run_command

def task(config):
    print(json.dumps([config["data"]["root"], command_line("train")]))
    return Path(config["run_dir"])

run_command("train", task, "python src/train.py")
"""
LITERAL = (
    "/data/a=b",
    "/a,b",
    "Kätzchen",
    "猫",
    "2012",
    "1e5",
    "true",
    "[a]",
    "{a}",
    "f(x)",
    "a b",
    "~/x",
    "it's",
    "C:\\a",
)
FOLDER = "/my data/ä=b,c's [1] $x"


@pytest.mark.parametrize("path", LITERAL)
def test_a_path_is_taken_literally(path: str) -> None:
    (word,) = hydra_words([f"data.root={path}"], "train")
    assert read(word) == path


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ('data.root="a=b"', "a=b"),
        ("data.root='a, b'", "a, b"),
        ("data.root=a\\=b", "a=b"),
        ("data.root=null", None),
        ("data.root=", ""),
    ],
)
def test_what_is_written_for_hydra_keeps_its_meaning(word: str, value: str | None) -> None:
    (same,) = hydra_words([word], "train")
    assert same == word
    assert read(same) == value


def test_other_settings_lists_interpolations_and_sweeps_are_left_to_hydra() -> None:
    for command, words in {
        "train": [["decay.pos=0.5"], ["data.root=${name}/x"], ["data=folder"], ["~data"], ["-m", "data.root=a,b"]],
        "report": [["images=24"], ["runs=[a,b/c]"]],
        "predict": [["images=photos/*.jpg"]],
    }.items():
        for each in words:
            assert hydra_words(each, command) == each
    assert hydra_words(["runs=[Läufe/a,b]"], "report") == ['runs=["Läufe/a",b]']
    assert hydra_words(["-m", "data.root=ä,b"], "train") == ["-m", 'data.root="ä,b"']


def test_every_literal_setting_exists() -> None:
    text = "".join(path.read_text("utf-8") for path in config_dir().rglob("*.yaml"))
    for key in TEXTS - {"hydra.run.dir", "hydra.sweep.dir"}:
        assert f"{key.rpartition('.')[2]}:" in text, key


def test_a_folder_with_any_character_is_read_and_its_printed_command_gives_it_again(tmp_path: Path) -> None:
    script = tmp_path / "show.py"
    script.write_text(SHOW.format(source=str(REPOSITORY / "src")), "utf-8")
    for word in (f"data.root={FOLDER}", "data.root=/a\\b${oc.env:HOME,x}", 'data.root="/a\\${b}"'):
        root, command = json.loads(run(script, tmp_path, word, "run_dir=Lauf 1=a,b").stdout.splitlines()[-2])
        again = run(script, tmp_path, *shlex.split(command)[2:])
        assert json.loads(again.stdout.splitlines()[-2]) == [root, command]
        assert again.stdout.splitlines()[-1] == "run: Lauf 1=a,b"
    assert root == "/a${b}"


def test_an_option_without_a_file_of_an_optional_group_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(config_dir() / "train.yaml", tmp_path)
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "cluster.yaml").touch()
    monkeypatch.setattr("secseg.utils.config.config_dir", lambda: tmp_path)
    message = r"local=clusterr: there is no file .*clusterr\.yaml\. Did you mean 'cluster'\? The options are cluster\."
    with pytest.raises(UserError, match=message):
        hydra_words(["local=clusterr"], "train")
    with pytest.raises(UserError, match="local=default"):
        hydra_words(["-m", "local=cluster,default"], "train")
    for words in (["local=cluster"], ["local=null"], ["local=mine", "hydra.searchpath=[pkg://mine.conf]"]):
        assert sorted(hydra_words(words, "train")) == sorted(words)
