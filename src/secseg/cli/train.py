"""python src/train.py"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from secseg.cli.command import chosen_options, command_line, is_first_process, run_command
from secseg.cli.places import check_data, check_places
from secseg.utils.files import COMMAND, OPTIONS, write_text

EXAMPLES = """
python src/train.py                                             the built-in data, on any machine
python src/train.py decay.pos=0.996 trainer.devices=1           the same, with two settings given
python src/train.py experiment=voc_animals data.root=<VOC2012>  a slice of VOC on a CPU
python src/train.py experiment=paper data.root=<VOC2012>        the paper's recipe
python src/train.py -m loss=seed,sec seed=0,1,2                 six runs; finished ones are not run again
python src/train.py experiment=ablation_loss random_seeds=[0,1]        a study, as a sweep
python src/train.py resume=auto                                 continue the newest run
"""


def task(config: dict[str, Any]) -> Path | None:
    from secseg.utils.config import sweeping

    if not sweeping():
        return run(config)
    from secseg.cli.sweep import run_job

    return run_job(config, run)


def run(config: dict[str, Any], report: Callable[[int, float], bool] | None = None) -> Path:
    """Train; ``report`` is that of a trial (see ``secseg.training.pruning``)."""
    from secseg.training.settings import check_settings

    check_settings(config)
    check_data(config["data"])
    check_places(config)
    from secseg.training.run import train  # imports torch: after the checks

    callbacks = []
    if report is not None:
        from secseg.training.pruning import Pruning

        callbacks.append(Pruning(report))
    folder = train(config, callbacks)["run"]
    assert isinstance(folder, Path)
    if is_first_process():
        write_text(folder / COMMAND, command_line("train") + "\n")
        write_text(folder / OPTIONS, "".join(f"{group}: {option}\n" for group, option in chosen_options().items()))
    return folder


def main() -> None:
    run_command("train", task, EXAMPLES)
