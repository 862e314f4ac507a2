"""A report from its config: runs are read and compared, then table, CSV file and page are written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secseg.errors import UserError, listing
from secseg.files import write_text
from secseg.report.runs import VARIANTS, find_runs
from secseg.report.statistics import study_rows
from secseg.report.study import Study, open_study
from secseg.report.tables import TITLES, class_table, cost_table, main_table, markdown, results_csv

NOTE = (
    "Mean IoU in percent over {classes} classes and {images} images ({split}): mean and standard deviation over seeds. "
    "Differences are to the baseline, **{baseline}**; the interval holds 95 % of draws of the images, and where it holds "
    "0 the difference may be noise."
)


def report(config: Mapping[str, Any]) -> Path:
    """Write the report that ``config`` (``conf/report.yaml``, composed and plain) describes.

    Returns:
        Its folder, with ``report.md``, ``results.csv`` and ``report.html``.

    Raises:
        UserError: for runs that are not there or cannot be compared.
    """
    runs, unfinished = find_runs(config["runs"])
    study = open_study(runs, config["baseline"])
    rows = study_rows(study)
    folder = Path(config["out"] or config["run_dir"]).expanduser()
    missing = [f"{path}: {why}" for path, why in unfinished.items()]
    parts = [f"# {config['title'] or _title(study)}", note(study), markdown(main_table(study, rows))]
    for variant in VARIANTS:
        if any(variant in row.miou for row in rows):
            parts += [f"## By class, {TITLES[variant]}", markdown(class_table(study, rows, variant))]
    parts += ["## Time and memory", markdown(cost_table(rows))]
    if missing:
        parts += ["## Not finished, and left out", listing(missing, most=100)]
    write_text(folder / "results.csv", results_csv(study))
    write_text(folder / "report.md", "\n\n".join(parts) + "\n")
    return folder


def note(study: Study) -> str:
    """Return what the figures are: classes, images, baseline, interval."""
    protocol = study.settings[0].runs[0].results["protocol"]
    return NOTE.format(
        classes=len(study.scored),
        images=protocol["val_images"],
        split=protocol["val_split"],
        baseline=study.baseline.name,
    )


def _title(study: Study) -> str:
    names = sorted({str(run.config["name"]) for setting in study.settings for run in setting.runs})
    return ", ".join(names)


def check(config: Mapping[str, Any]) -> None:
    """Raise a UserError for settings out of range."""
    if config["images"] is not None and (not isinstance(config["images"], int) or config["images"] < 0):
        raise UserError(f"images={config['images']}: give a whole number of at least 0.")
