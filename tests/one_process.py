"""Run commands in one process: python -m tests.one_process train <words> ";" evaluate <words>

Torch is imported once, which saves most of the time of small commands.
"""

from __future__ import annotations

import sys
from importlib import import_module
from itertools import groupby


def main(words: list[str]) -> None:
    """Run the commands, which are separated by ``;``."""
    for command in (list(part) for separator, part in groupby(words, ";".__eq__) if not separator):
        sys.argv = [f"{command[0]}.py", *command[1:]]
        import_module(f"secseg.cli.{command[0]}").main()


if __name__ == "__main__":
    main(sys.argv[1:])
