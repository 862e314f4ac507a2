"""The text of --help. It is read from the first lines of the config files, so nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from secseg.utils.config import config_dir
from secseg.utils.program import program
from secseg.utils.quoting import shell_command

# Groups that are not for the command line.
_HIDDEN = {"local", "hydra"}


def help_text(name: str, examples: str) -> str:
    """Return the help of the command ``name``: its purpose, examples, its groups with their options, its keys."""
    root, call = config_dir() / f"{name}.yaml", shell_command(*program(name))
    groups = list(groups_of(root))
    lines = [describe(root), "", f"  {call} {'[group=option ...] ' if groups else ''}[key=value ...]", "", "Examples"]
    lines += [f"  {line.replace(f'python src/{name}.py', call)}" for line in examples.strip().splitlines()]
    if groups:
        lines += ["", "Groups: group=option (* is the default)", *_group_lines(groups)]
    lines += ["", "Keys: key=value", *_keys_of(root)]
    if groups:
        here, conf = Path.cwd(), config_dir()
        place = conf.relative_to(here) if conf.is_relative_to(here) else conf
        lines += [
            f"  Keys of a group, <group>.<key>=value: with their legal values in {place}/<group>/<option>.yaml, or in",
            "  the option that this file names under defaults",
            "",
            "-m runs all combinations of values: -m <group>=a,b <key>=0,1. --cfg job prints the complete config.",
        ]
    return "\n".join([*lines, "HYDRA_FULL_ERROR=1 shows the traceback of a failure."])


def _group_lines(groups: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    """Yield a line for each group and each of its options. All comments start in one column."""
    options = {group: sorted((config_dir() / group).glob("*.yaml")) for group, *_ in groups}
    names = [*options, *(f"  {option.stem}" for found in options.values() for option in found)]
    width = max(map(len, names)) + 2
    for group, default, purpose in groups:
        yield f"  {group:<{width}}{purpose}"
        for option in options[group]:
            mark = "*" if option.stem == default else " "
            yield f"   {mark}{option.stem:<{width - 2}}{describe(option)}"


def describe(path: Path) -> str:
    """Return the first comment of a config file, apart from a ``@package`` line."""
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("#") and "@package" not in line:
            return line.lstrip("# ").strip()
    return ""


def groups_of(root: Path) -> Iterator[tuple[str, str, str]]:
    """Yield each group in the defaults list of a root config, with its default option and its comment."""
    for line in root.read_text("utf-8").splitlines():
        entry, _, purpose = line.partition("#")
        group, colon, default = entry.strip().removeprefix("- ").removeprefix("optional ").partition(": ")
        hidden = group.startswith("override") or group.split("/")[0] in _HIDDEN
        if line.startswith("  - ") and colon and not hidden:
            yield group, default.strip("[] "), purpose.strip()


def _keys_of(root: Path) -> Iterator[str]:
    """Yield the lines of a root config that set its own keys, with their comments."""
    skip = False
    for line in root.read_text("utf-8").splitlines():
        if line and not line.startswith((" ", "#")):
            skip = line.startswith(("defaults:", "hydra:"))
        if line.strip() and not skip and not line.startswith("#"):
            yield f"  {line}"
