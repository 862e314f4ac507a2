"""Print the oldest releases that pyproject.toml allows, as constraints for pip: `make test-oldest` installs these.

The bounds are read each time, so that both cannot differ. It uses only the standard library: nothing is installed yet.
"""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def constraints() -> list[str]:
    """Return `name==oldest` for each dependency, of the extras too; a pinned one is pinned already."""
    project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    needs = chain(project["dependencies"], *project["optional-dependencies"].values())
    bounds = (re.match(r"([\w.-]+)>=([\w.]+)", need) for need in needs)
    return [f"{bound[1]}=={bound[2]}" for bound in bounds if bound]


if __name__ == "__main__":
    print(*constraints(), sep="\n")
