"""python src/dashboard.py"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secseg.cli.command import run_command

EXAMPLES = """
python src/dashboard.py                                       of your own project secseg
python src/dashboard.py entity=my_team project=my_project     a team's
python src/dashboard.py 'group_by=[Group,decay.pos]'          a line for each study and decay, its seeds averaged
"""


def task(config: Mapping[str, Any]) -> Path:
    from secseg.drawing.wandb import save_dashboard
    from secseg.utils.files import write_text

    sent = save_dashboard(config["project"], config["entity"], config["group_by"], config["terms"])
    folder = Path(config["run_dir"])
    write_text(folder / "dashboard.json", sent + "\n")
    return folder


def main() -> None:
    run_command("dashboard", task, EXAMPLES)
