"""python src/export.py"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secseg.cli.command import run_command
from secseg.cli.places import check_places
from secseg.utils.errors import UserError

EXAMPLES = """
python src/export.py ckpt=runs/sec/<time>                       the network of a run
python src/export.py ckpt=<checkpoint> out=models/sec           of one checkpoint, into a folder of your choice
python src/export.py caffe=SEC.caffemodel out=models/sec        the published network, from Caffe's file
"""


def task(config: Mapping[str, Any]) -> Path:
    if (config["ckpt"] is None) == (config["caffe"] is None):
        raise UserError("Give one of ckpt=<run folder or checkpoint> and caffe=<.caffemodel or state dict>.")
    check_places(config)
    from secseg.models.files.export import export_caffe, export_checkpoint
    from secseg.runs.run_writer import versions, write_config, write_results

    run = Path(config["run_dir"])
    out = run / "model" if config["out"] is None else config["out"]
    if config["ckpt"] is not None:
        results = export_checkpoint(config["ckpt"], out)
    else:
        results = export_caffe(config["caffe"], out)
    write_config(run, config)
    write_results(run, {**results, "versions": versions()})
    plugins = f", plugins={list(config['plugins'])}" if config["plugins"] else ""
    print(f"Exported to {results['out']}. In Python: secseg.load({str(results['out'])!r}{plugins})")
    return run


def main() -> None:
    run_command("export", task, EXAMPLES)
