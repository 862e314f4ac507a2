"""The package needs NumPy and Numba alone, and leaves the settings of the process as they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY

SMALL = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        needed = ("secseg", "numpy", "numba", "llvmlite", *sys.stdlib_module_names)
        if root not in needed and not root.startswith("_"):  # the latter are parts of Python
            raise ImportError(f"{name} is not needed")
sys.meta_path.insert(0, Refuse())
import secseg.densecrf as dcrf
import secseg.densecrf.utils
assert "torch" not in sys.modules
"""


def test_only_numpy_and_numba_are_imported(tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(REPOSITORY / 'src')!r})\n{SMALL}"
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
