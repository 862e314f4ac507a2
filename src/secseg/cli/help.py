"""The text of --help. It is read from the first lines of the config files, so nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from secseg.utils.config import config_dir

# Groups that are not for the command line.
_HIDDEN = {"local", "hydra"}


def help_text(name: str, examples: str) -> str:
    """Return the help of the command ``name``: its purpose, examples, its groups with their options, its keys."""
    root = config_dir() / f"{name}.yaml"
    groups = list(_groups_of(root))
    usage = f"python src/{name}.py {'[group=option ...] ' if groups else ''}[key=value ...]"
    lines = [describe(root), "", f"  {usage}", "", "Examples", *(f"  {line}" for line in examples.strip().splitlines())]
    if groups:
        lines += ["", "Groups: group=option (* is the default)"]
        for group, default, purpose in groups:
            lines += [f"  {group:<26}{purpose}"]
            for option in sorted((config_dir() / group).glob("*.yaml")):
                mark = "*" if option.stem == default else " "
                lines += [f"   {mark}{option.stem:<23} {describe(option)}"]
    lines += ["", "Keys: key=value", *_keys_of(root)]
    if groups:
        lines += [
            "  Keys of a group, <group>.<key>=value: with their legal values in conf/<group>/<option>.yaml, or in the",
            "  option that this file names under defaults",
            "",
            "-m runs all combinations of values: -m <group>=a,b <key>=0,1. --cfg job prints the complete config.",
        ]
    return "\n".join([*lines, "HYDRA_FULL_ERROR=1 shows the traceback of a failure."])


def describe(path: Path) -> str:
    """Return the first comment of a config file, apart from a ``@package`` line."""
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("#") and "@package" not in line:
            return line.lstrip("# ").strip()
    return ""


def _groups_of(root: Path) -> Iterator[tuple[str, str, str]]:
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
