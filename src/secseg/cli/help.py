"""The text of --help, read from the config files' own first lines: nothing heavy is imported for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from secseg.config import config_dir

# Groups that a command uses beside those in its defaults list, or that are not for the command line.
_HIDDEN = {"local", "hydra"}


def help_text(name: str, examples: str) -> str:
    """Return the help of the command ``name``: what it does, examples, its groups with their options, its keys."""
    root = config_dir() / f"{name}.yaml"
    lines = [describe(root), "", "Examples", *(f"  {line}" for line in examples.strip().splitlines()), ""]
    groups = list(_groups_of(root))
    if groups:
        lines += ["Groups: group=option (* is the default)"]
        for group, default in groups:
            lines += [f"  {group}"]
            for option in sorted((config_dir() / group).glob("*.yaml")):
                mark = "*" if option.stem == default else " "
                lines += [f"   {mark}{option.stem:<20} {describe(option)}"]
        lines += [""]
    lines += [
        "Keys: key=value; those of a group are in conf/<group>/, with legal values: decay.pos=0.99",
        *_keys_of(root),
    ]
    lines += [
        "",
        "Several values: -m key=a,b group=c,d runs every combination. --cfg job prints the whole config.",
        "HYDRA_FULL_ERROR=1 shows tracebacks.",
    ]
    return "\n".join(lines)


def describe(path: Path) -> str:
    """Return what the first comment of a config file says (a ``@package`` line is none)."""
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("#") and "@package" not in line:
            return line.lstrip("# ").strip()
    return ""


def _groups_of(root: Path) -> Iterator[tuple[str, str]]:
    """Yield the groups of a root config and their defaults, from its defaults list."""
    for line in root.read_text("utf-8").splitlines():
        entry = line.strip().removeprefix("- ").removeprefix("optional ")
        group, colon, default = entry.partition(": ")
        if (
            line.startswith("  - ")
            and colon
            and group.split("/")[0] not in _HIDDEN
            and not group.startswith("override")
        ):
            yield group, default.strip("[] ")


def _keys_of(root: Path) -> Iterator[str]:
    """Yield the root config's own keys with their values and comments, as they stand in the file."""
    skip = False
    for line in root.read_text("utf-8").splitlines():
        if line and not line.startswith((" ", "#")):
            skip = line.startswith(("defaults:", "hydra:"))
        if line.strip() and not skip and not line.startswith("#"):
            yield f"  {line}"
