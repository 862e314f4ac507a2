"""A command of the project, run in this process."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Outcome:
    """The exit code of a command, its output, and the results in its run folder."""

    code: int
    output: str
    error: str
    results: dict[str, Any] | None


def run_in_process(
    main: Callable[[], None],
    words: list[str],
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Outcome:
    """Run ``main`` with ``words`` as its command line, and ``run`` as its run folder."""
    monkeypatch.setattr(sys, "argv", ["command.py", f"hydra.run.dir={run}", *words])
    code = 0
    try:
        main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    printed = capsys.readouterr()
    results = json.loads((run / "results.json").read_text()) if (run / "results.json").is_file() else None
    return Outcome(code, printed.out, printed.err, results)
