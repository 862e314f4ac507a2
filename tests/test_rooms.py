"""The packages of secseg import each other in one direction only."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "src" / "secseg"
# Each package may import those to its right.
ORDER = "cli cue_making training evaluation inference models drawing losses crf densecrf data runs utils".split()  # noqa: SIM905


def imports(source: str) -> set[str]:
    """Return the packages of secseg that a module's source imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "secseg":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("secseg."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("secseg.")}
    return found


def violations(package: Path, order: list[str]) -> list[str]:
    """Return each import that runs against the order of the packages, one line each."""
    return sorted(
        f"{path.relative_to(package)} imports secseg.{target}"
        for path in package.rglob("*.py")
        if (room := path.relative_to(package).parts[0]) in order
        for target in imports(path.read_text("utf-8"))
        if target in order and order.index(target) < order.index(room)
    )


def test_the_root_holds_packages_only_and_each_has_its_place_in_the_order() -> None:
    assert {path.name for path in PACKAGE.iterdir() if path.name not in ("__pycache__", "conf")} == {
        *ORDER,
        "__init__.py",
        "py.typed",
    }


def test_no_package_imports_one_that_comes_before_it() -> None:
    assert violations(PACKAGE, ORDER) == []


def test_an_import_against_the_order_is_found_also_inside_a_function(tmp_path: Path) -> None:
    for room in ("data", "models"):
        (tmp_path / room).mkdir()
    (tmp_path / "data" / "a.py").write_text("def f():\n    from secseg import models\n", "utf-8")
    (tmp_path / "models" / "b.py").write_text("import secseg.data.images\n", "utf-8")
    assert violations(tmp_path, ORDER) == ["data/a.py imports secseg.models"]
