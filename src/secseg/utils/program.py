"""The commands of the project, in the form in which the user of this process calls them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from secseg.utils.quoting import shell_command

COMMANDS = ("train", "make_cues", "predict", "evaluate", "report", "export", "prepare_voc", "prepare_coco", "dashboard")
_SRC = Path(__file__).resolve().parents[2]


def console_script(name: str) -> str:
    """Return the name of the installed command: ``secseg-make-cues`` for ``make_cues``."""
    return f"secseg-{name.replace('_', '-')}"


def program(name: str) -> list[str]:
    """Return the words that call the command ``name`` as the user called this one.

    That is ``secseg-train``, or ``python src/train.py`` with the interpreter and the path that the user typed. In other
    processes (Python code, the jobs of a launcher), it is the installed command, or the script of a checkout.
    """
    called = Path(sys.argv[0])
    if called.stem in map(console_script, COMMANDS):
        script = console_script(name)
        found = shutil.which(script)
        beside = called.with_name(f"{script}{called.suffix}")
        return [script if found and Path(found).resolve() == beside.resolve() else str(beside)]
    if called.suffix == ".py" and called.stem in COMMANDS:
        interpreter = sys.orig_argv[0] if sys.argv[0] in sys.orig_argv[1:] else "python"
        return [interpreter, str(called.with_name(f"{name}.py"))]
    return ["python", f"src/{name}.py"] if (_SRC / "train.py").is_file() else [console_script(name)]


def command(name: str, *settings: str) -> str:
    """Return a command for the shell. The settings are Hydra overrides, as from ``quoting.override``."""
    return shell_command(*program(name), *settings)
