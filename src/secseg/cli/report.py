"""python src/report.py"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secseg.cli.command import command_line, run_command

EXAMPLES = """
python src/report.py runs=runs/ablation_loss                              a study, compared with its best setting
python src/report.py runs=runs/ablation_loss 'baseline="loss=sec"'        ... with this one
python src/report.py runs=[runs/ablation_loss,runs/ablation_crf]          several studies
python src/report.py 'runs=runs/*/*seed=0*' out=my_report                 a glob, and the folder of the report
"""


def task(config: Mapping[str, Any]) -> Path:
    from secseg.evaluation.report.build import check, report

    check(config)
    return report(config, command_line("report"))


def main() -> None:
    run_command("report", task, EXAMPLES)
