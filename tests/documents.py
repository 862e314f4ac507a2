"""The README and the pages of docs/, whose commands tests run."""

from __future__ import annotations

import re

from tests.conftest import REPOSITORY

GUIDE = REPOSITORY / "docs" / "own_images.md"
"""Its four commands build on each other. tests/test_guide.py runs them."""

EXTENDING = REPOSITORY / "docs" / "extending.md"
"""Its commands need the package on the page. tests/test_extending.py runs them."""

PAGES = {path: path.read_text("utf-8") for path in [REPOSITORY / "README.md", *sorted(REPOSITORY.glob("docs/*.md"))]}


def commands(*pages: str) -> list[str]:
    """Return each line of the pages' shell blocks once; comments are left out."""
    blocks = (block for page in pages for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL))
    lines = (line for block in blocks for line in block.strip().splitlines())
    return list(dict.fromkeys(line for line in lines if not line.startswith("#")))


COMMANDS = commands(*(text for path, text in PAGES.items() if path not in (GUIDE, EXTENDING)))
