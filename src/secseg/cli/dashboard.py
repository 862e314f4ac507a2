"""python src/dashboard.py"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from secseg.cli.command import run_command

if TYPE_CHECKING:
    from omegaconf import DictConfig

EXAMPLES = """
python src/dashboard.py                                       of your own project secseg
python src/dashboard.py entity=my_team project=my_project     a team's
python src/dashboard.py 'group_by=[Group,decay.pos]'          a line for each study and decay, its seeds averaged
"""


def task(cfg: DictConfig) -> Path:
    from secseg.drawing.wandb import save_dashboard
    from secseg.utils.config import to_plain
    from secseg.utils.files import write_text

    config = to_plain(cfg)
    sent = save_dashboard(config["project"], config["entity"], config["group_by"], config["terms"])
    folder = Path(config["run_dir"])
    write_text(folder / "dashboard.json", sent + "\n")
    return folder


def main() -> None:
    run_command("dashboard", task, EXAMPLES)
