"""The time to start, before and after a change: imports, --help, imports of a network, the first training step.

    git worktree add /tmp/before <commit>
    python -m benchmarks.start --before /tmp/before

Each time is that of a separate process. Both ways take turns, after runs that fill the caches, which they share.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.compare import alternate, report, timing_table

AFTER = Path(__file__).resolve().parents[1]
COMMANDS = ("train", "evaluate", "predict", "export", "prepare_voc", "make_cues")
# The process ends with the first step: the rest is not part of the start.
FIRST_STEP = """
import os, sys
from secseg.cli.train import main
def job(cfg):
    from secseg.training import run as training
    from secseg.training.settings import check_settings
    from secseg.training.module import SECModule
    SECModule.on_train_batch_end = lambda *_: os._exit(0)
    check_settings(cfg)
    training.train(cfg)
import secseg.cli.train as command
command.task = job
sys.argv = ["train.py", "debug=smoke"]
main()
"""
QUESTIONS = {
    "import secseg": ["-c", "import secseg"],
    **{f"{name} --help": ["-c", f"from secseg.cli.{name} import main; main()", "--help"] for name in COMMANDS},
    "imports of secseg.load": ["-c", "import secseg.models.files.load"],
    "imports of secseg.load for VGG": ["-c", "import secseg.models.files.load, secseg.models.vgg"],
    "imports of secseg.load for EfficientNet": [
        "-c",
        "import secseg.models.files.load, secseg.models.efficientnet_lite",
    ],
    "imports of predict": ["-c", "import secseg.inference.predict"],
    "train.py to the end of its first step": ["-c", FIRST_STEP],
}


def way(words: list[str], checkout: Path, folder: str) -> Callable[[], Any]:
    """Return a call that runs Python on ``words`` with the package of ``checkout``, in ``folder``."""
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}

    def run() -> None:
        command = [sys.executable, *words]
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="checkout of the commit to compare with")
    parser.add_argument("--rounds", type=int, default=5, help="counted processes of each way")
    options = parser.parse_args()
    sections = {}
    with TemporaryDirectory() as folder:
        for question, words in QUESTIONS.items():
            ways = {"before": way(words, options.before.resolve(), folder), "after": way(words, AFTER, folder)}
            sections[question] = timing_table(alternate(ways, options.rounds), against="before", unit="s")
    report("start", "Time to start, in seconds", sections)


if __name__ == "__main__":
    main()
