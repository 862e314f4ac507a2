"""The command report: read and compare runs, then write tables, figures and a page."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from secseg.drawing.html import figure_source, render
from secseg.drawing.study_charts import Drawing
from secseg.evaluation.report.figures import Figures, draw, write_figures
from secseg.evaluation.report.gallery import gallery
from secseg.evaluation.report.runs import Run, find_runs
from secseg.evaluation.report.study import Row, Study, open_study, study_rows
from secseg.evaluation.report.tables import Table, escaped, markdown, plain, results_csv, tables
from secseg.runs.run_warnings import grouped_warnings
from secseg.utils.checks import check_whole, refuse
from secseg.utils.config import to_plain
from secseg.utils.files import COMMAND, working_in, write_text

log = logging.getLogger(__name__)

FIGURES, PAGE = "figures", "report.html"
_MARKS = {"o": "●", "s": "■", "^": "▲"}
_LINES = {"-": "──", "--": "╌╌", ":": "┈┈"}
NOTE = (
    "Mean IoU in percent over {classes} classes and {protocol[val_images]} images ({protocol[val_split]}): mean and "
    "standard deviation over seeds. Differences are to the baseline, {baseline}. An interval holds 95 % of the "
    "draws of the images. If an interval holds 0, the difference may be noise."
)


@dataclass(frozen=True)
class Report:
    """Everything that a report shows. ``unfinished`` has the folder of each unfinished run, with the reason."""

    title: str
    note: str
    warnings: Sequence[str]
    command: str
    unfinished: Sequence[tuple[str, str]]
    study: Study
    rows: Sequence[Row]
    tables: Sequence[Table]
    figures: Figures


def check(config: Mapping[str, Any]) -> None:
    """Raise a UserError for settings out of range."""
    refuse(check_whole("images", config["images"], 0))


def report(config: Mapping[str, Any], command: str) -> Path:
    """Write the report that ``config`` (``conf/report.yaml``, composed) describes, print its warnings, its first table
    and the path of its page, and return its folder.

    The folder has ``report.md``, ``results.csv``, ``report.html``, and the figures as SVG files. The report shows
    ``command``, its command line.

    Raises:
        UserError: for runs that do not exist or cannot be compared.
    """
    config = to_plain(config)
    runs, left_out = find_runs(config["runs"])
    study = open_study(runs, config["baseline"])
    rows = study_rows(study)
    made = Report(
        title=str(config["title"] or ", ".join(sorted({str(run.config["name"]) for run in runs}))),
        note=note(study),
        warnings=warnings(study),
        command=command,
        unfinished=[(str(path), reason) for path, reason in left_out.items()],
        study=study,
        rows=rows,
        tables=tables(study, rows),
        figures=draw(study, rows),
    )
    for warning in made.warnings:
        log.warning("%s", warning)
    page = report_page(made, config["images"])
    folder = Path(config["out"] or config["run_dir"]).expanduser()
    with working_in(folder):
        write_text(folder / "results.csv", results_csv(study))
        write_text(folder / "report.md", report_markdown(made))
        write_text(folder / PAGE, page)
        write_figures(folder / FIGURES, made.figures)
    print(plain(made.tables[0], left=max(1, len(study.swept))))
    print(f"page: {folder.absolute() / PAGE}")
    return folder


def report_markdown(made: Report) -> str:
    """Return the report as Markdown, with links to the figures."""
    first, *others = made.tables
    parts = [f"# {escaped(made.title)}", *map(escaped, made.warnings), escaped(made.note), markdown(first)]
    for table in others:
        parts += [f"## {table.title}", markdown(table)]
    drawings = made.figures.drawings
    parts += ["## Figures", *(f"![{escaped(one.title)}]({FIGURES}/{quote(one.file)})" for one in drawings)]
    if made.unfinished:
        lines = [f"- {escaped(f'{folder}: {reason}')}" for folder, reason in made.unfinished]
        parts += ["## Not finished, and left out", "\n".join(lines)]
    parts += ["## Command", f"```\n{made.command}\n```"]
    return "\n\n".join(parts) + "\n"


def report_page(made: Report, images: int) -> str:
    """Return the report as one HTML page with a gallery of ``images`` images."""
    shown, figures = made.figures.shown, made.figures
    pictures = gallery(made.study, [row.setting for row in shown], images)
    some = f" Of {len(made.rows)} settings, the baseline and the {len(shown) - 1} best others are shown."
    return render(
        "report.html",
        **vars(made),
        effects=_sources(figures.effects),
        many_keys=len(made.study.swept) > 1,
        curves=_sources(figures.curves),
        classes=_sources(figures.classes),
        legend=[
            (row.setting.name, way.colour, f"{_LINES[way.line]}{_MARKS[way.mark]}")
            for row, way in zip(shown, figures.styles, strict=True)
        ],
        some=some if len(shown) < len(made.rows) else "",
        gallery=pictures,
        data=asdict(pictures),
        trained=[(row.setting.name, [_command(run) for run in row.setting.runs]) for row in made.rows],
    )


def note(study: Study) -> str:
    """Return a text that explains the figures: classes, images, baseline, interval."""
    protocol = study.settings[0].runs[0].results["protocol"]
    return NOTE.format(classes=len(study.scored), protocol=protocol, baseline=study.baseline.name)


def warnings(study: Study) -> list[str]:
    """Return a warning if several versions of the code made the runs, one if runs have equal settings and seeds, and
    the warnings of the runs, each text once."""
    found = []
    count = Counter(_version(run) for setting in study.settings for run in setting.runs)
    if len(count) > 1:
        text = "; ".join(f"{version} ({runs} run{'' if runs == 1 else 's'})" for version, runs in count.most_common())
        found.append(f"Different versions of the code made these runs: {text}. They may be the reason of a difference.")
    twice = [one.name for one in study.settings if len({run.seed for run in one.runs}) < len(one.runs)]
    if twice:
        found.append(f"Several runs have the same settings and seed, and all of them count: {'; '.join(twice)}.")
    runs = {
        f"{one.name}, seed {run.seed}": run.results.get("warnings", []) for one in study.settings for run in one.runs
    }
    return [*found, *grouped_warnings(runs)]


def _version(run: Run) -> str:
    versions = run.results.get("versions") or {}
    git = versions.get("git")
    if git:
        return f"commit {git['commit'][:10]}{' with changes' if git['dirty'] else ''}"
    return f"secseg {versions.get('packages', {}).get('secseg', 'of unknown version')}"


def _sources(drawings: Sequence[Drawing]) -> list[tuple[str, str]]:
    return [(drawing.title, figure_source(drawing.figure)) for drawing in drawings]


def _command(run: Run) -> str:
    path = run.folder / COMMAND
    if not path.is_file():
        return f"# {run.folder}: its command was not recorded"
    return path.read_text("utf-8", errors="replace").strip()
