"""Configs build only classes of the wanted kind, and code of other packages runs only if this run names the package."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import OmegaConf
from torch import nn

from secseg.utils.config import build, config_dir, result_settings, to_plain, using_plugins
from secseg.utils.errors import UserError
from tests.conftest import REPOSITORY

CODE = """
import os
from torch import nn

class Layer(nn.Module):
    def __init__(self, width=1):
        super().__init__()
        self.width = width
"""
NODE = {"_target_": "some_plugin.layers.Layer", "width": 3}


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
def test_only_a_class_of_the_wanted_kind_is_built(target: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"_target_={target} is no Optimizer, .*It was not run"):
        build({"_target_": target, "command": f"touch {tmp_path / 'ran'}"}, torch.optim.Optimizer)
    assert not (tmp_path / "ran").exists()


def test_build_reports_what_it_cannot_find_or_build(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_settings_that_do_not_change_results_are_left_out() -> None:
    data = {"root": "voc", "workers": 2}
    config = {"run_dir": "runs/x", "plugins": ["json"], "seed": 1, "data": data, "random_seeds": [1, 2]}
    assert result_settings({**config, "callbacks": {"curves": None}}) == {"seed": 1, "data": {"root": "voc"}}
    assert data == {"root": "voc", "workers": 2}


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    package = tmp_path / "some_plugin"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "layers.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    yield package.name
    for name in [name for name in sys.modules if name.partition(".")[0] == package.name]:
        del sys.modules[name]


def test_a_package_that_is_not_named_is_not_imported_and_the_error_names_the_setting(plugin: str) -> None:
    with pytest.raises(UserError, match=r"is not allowed: .* If you trust .* give plugins=\[some_plugin\]\."):
        build(NODE, nn.Module)
    with using_plugins(["json"]), pytest.raises(UserError, match="is not allowed"):
        build(NODE, nn.Module)
    assert plugin not in sys.modules


@pytest.mark.parametrize("names", [["some_plugin"], "some_plugin", ("json", "some_plugin.layers")])
def test_a_class_of_a_named_package_is_built_until_the_block_ends(plugin: str, names: list[str]) -> None:
    with using_plugins(names):
        assert plugin not in sys.modules, "imported once it is needed"
        assert build(NODE, nn.Module).width == 3  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="is not allowed"):
        build(NODE, nn.Module)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("some_plugin.layers.Layr", r"cannot be found: some_plugin\.layers has no Layr\. Did you mean 'Layer'\?$"),
        ("some_plugin.layer.Layer", r"cannot be found: some_plugin has no layer\. Did you mean 'layers'\?$"),
        ("some_plugin.broken.Layer", r"cannot be found: ModuleNotFoundError: No module named 'no_such_package'$"),
    ],
)
def test_the_error_names_the_part_that_is_missing(
    plugin: str, target: str, message: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / plugin / "broken.py").write_text("import no_such_package")
    with using_plugins([plugin]), pytest.raises(UserError, match=message):
        build({"_target_": target}, nn.Module)
    assert not caplog.records, "one message"


def test_blocks_within_each_other_add_up(plugin: str) -> None:
    with using_plugins([plugin]):
        with using_plugins(["json"]):
            build(NODE, nn.Module)
        build(NODE, nn.Module)


@pytest.mark.parametrize("target", ["some_plugin.layers.os.system", "some_plugin.layers.nn.Linear", "some_plugin.os.x"])
def test_a_named_package_gives_only_classes_of_the_kind_that_is_needed(plugin: str, target: str) -> None:
    with using_plugins([plugin]), pytest.raises(UserError, match=r"is no Dropout|cannot be found"):
        build({"_target_": target}, nn.Dropout)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["no_such_package"], "no_such_package cannot be found. Install it"),
        (["some-plugin"], "give a list of names of packages"),
        ([3], "give a list of names of packages"),
        ([""], "give a list of names of packages"),
    ],
)
def test_a_name_that_is_not_a_package_is_refused(names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message), using_plugins(names):
        pytest.fail("the block was entered")


TASK = """
import sys
from pathlib import Path
sys.path.insert(0, {source!r})
from secseg.cli.command import run_command
from secseg.utils.config import build

def task(config):
    print("built", build({{"_target_": "some_plugin.layers.Layer", "width": config["seed"]}}, object).width, flush=True)
    return Path(config["run_dir"])

run_command("train", task, "")
"""


@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_the_jobs_of_each_launcher_know_the_packages_of_the_command_line(
    plugin: str, tmp_path: Path, launcher: str
) -> None:
    script = tmp_path / "task.py"
    script.write_text(TASK.format(source=str(REPOSITORY / "src")))
    words = [f"plugins=[{plugin}]", "-m", "seed=1,2", f"hydra/launcher={launcher}"]
    path = os.pathsep.join([str(tmp_path), str(REPOSITORY / "src")])
    result = subprocess.run(
        [sys.executable, str(script), *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    logs = [path.read_text() for path in tmp_path.rglob("*_log.out")]  # of submitit's processes
    built = "\n".join([result.stdout, *logs])
    assert "built 1" in built
    assert "built 2" in built


def test_commands_of_the_same_second_get_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("secseg.utils.config.time.strftime", lambda _: "noon")
    commands = [OmegaConf.create({"dir": "${new_folder:runs/predict}"}) for _ in range(3)]
    names = ["runs/predict/noon", "runs/predict/noon_2", "runs/predict/noon_3"]
    assert [one.dir for one in commands] == names
    assert [one.dir for one in commands] == names, "one command has one folder"
    assert all(Path(name).is_dir() for name in names)
    python = OmegaConf.create({"dir": "${run_folder:runs/predict}"})
    assert python.dir == str(tmp_path / "runs/predict/noon_4")


@pytest.mark.parametrize("path", sorted(config_dir().glob("*.yaml")), ids=lambda path: path.stem)
def test_every_command_takes_a_new_folder(path: Path) -> None:
    config = yaml.safe_load(path.read_text("utf-8"))
    assert config["hydra"]["run"]["dir"].startswith("${new_folder:runs/")
