"""A report from its config: runs are read and compared, then table, CSV file and page are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

from secseg.drawing.html import figure_source, render
from secseg.drawing.study_charts import Drawing, Style
from secseg.evaluation.report.figures import Figures, draw, write_figures
from secseg.evaluation.report.gallery import gallery
from secseg.evaluation.report.runs import Run, find_runs
from secseg.evaluation.report.study import Row, Study, open_study, study_rows
from secseg.evaluation.report.tables import Table, escaped, markdown, results_csv, tables
from secseg.utils.checks import check_whole, refuse
from secseg.utils.files import COMMAND, working_in, write_text

FIGURES = "figures"
_MARKS = {"o": "●", "s": "■", "^": "▲"}
_LINES = {"-": "──", "--": "╌╌", ":": "┈┈"}
NOTE = (
    "Mean IoU in percent over {classes} classes and {images} images ({split}): mean and standard deviation over seeds. "
    "Differences are to the baseline, {baseline}; the interval holds 95 % of draws of the images, and where it holds "
    "0 the difference may be noise."
)


def report(config: Mapping[str, Any], command: str) -> Path:
    """Write the report that ``config`` (``conf/report.yaml``, composed and plain) describes.

    Args:
        config: the settings.
        command: the command line, which the report names.

    Returns:
        Its folder, with ``report.md``, ``results.csv``, ``report.html``, and the figures as SVG files.

    Raises:
        UserError: for runs that are not there or cannot be compared.
    """
    runs, left_out = find_runs(config["runs"])
    study = open_study(runs, config["baseline"])
    rows = study_rows(study)
    folder = Path(config["out"] or config["run_dir"]).expanduser()
    title = str(config["title"] or _title(study))
    unfinished = [(str(path), why) for path, why in left_out.items()]
    found, told = tables(study, rows), warnings(study)
    figures = draw(study, rows)
    page = report_page(
        study,
        rows,
        found,
        figures,
        title=title,
        note=note(study),
        warnings=told,
        unfinished=unfinished,
        images=config["images"],
        command=command,
    )
    parts = [f"# {escaped(title)}", *map(escaped, told), escaped(note(study)), markdown(found[0])]
    for table in found[1:]:
        parts += [f"## {table.title}", markdown(table)]
    parts += ["## Figures", *(f"![{escaped(one.title)}]({FIGURES}/{quote(one.file)})" for one in figures.drawings)]
    if unfinished:
        parts += ["## Not finished, and left out", "\n".join(f"- {escaped(f'{at}: {why}')}" for at, why in unfinished)]
    parts += ["## Command", f"```\n{command}\n```"]
    with working_in(folder):
        write_text(folder / "results.csv", results_csv(study))
        write_text(folder / "report.md", "\n\n".join(parts) + "\n")
        write_text(folder / "report.html", page)
        write_figures(folder / FIGURES, figures)
    return folder


def report_page(
    study: Study,
    rows: Sequence[Row],
    tables: Sequence[Table],
    figures: Figures,
    *,
    title: str,
    note: str,
    warnings: Sequence[str],
    unfinished: Sequence[tuple[str, str]],
    images: int,
    command: str,
) -> str:
    """Return the page.

    Args:
        study: the runs.
        rows: their figures.
        tables: what :func:`secseg.evaluation.report.study_tables.tables` returns.
        figures: what :func:`draw` returns.
        title, note, warnings: sentences for its head.
        unfinished: folders, and why the run in each is not finished.
        images: how many are in the gallery.
        command: that made the report.

    Raises:
        UserError: for damaged files of a run.
    """
    shown = figures.shown
    pictures = gallery(study, [row.setting for row in shown], images)
    few = len(shown) < len(rows)
    return render(
        "report.html",
        title=title,
        note=note,
        warnings=warnings,
        tables=tables,
        unfinished=unfinished,
        effects=_sources(figures.effects),
        many_keys=len(study.swept) > 1,
        curves=_sources(figures.curves),
        classes=_sources(figures.classes),
        legend=[(row.setting.name, way.colour, _sign(way)) for row, way in zip(shown, figures.ways, strict=True)],
        some=f" Of {len(rows)} settings, the baseline and the {len(shown) - 1} best others are shown." if few else "",
        gallery=pictures,
        data=asdict(pictures),
        command=command,
        trained=[(row.setting.name, [_command(run) for run in row.setting.runs]) for row in rows],
    )


def note(study: Study) -> str:
    """Return what the figures are: classes, images, baseline, interval."""
    protocol = study.settings[0].runs[0].results["protocol"]
    return NOTE.format(
        classes=len(study.scored),
        images=protocol["val_images"],
        split=protocol["val_split"],
        baseline=study.baseline.name,
    )


def warnings(study: Study) -> list[str]:
    """Return a sentence where the runs were not all made by one version of the code, and one where runs have the same
    settings and seed."""
    sentences = []
    count = Counter(_version(run) for setting in study.settings for run in setting.runs)
    if len(count) > 1:
        told = "; ".join(f"{version} ({runs} run{'' if runs == 1 else 's'})" for version, runs in count.most_common())
        sentences.append(f"Different versions of the code made these runs: {told}. A difference may come from there.")
    twice = [one.name for one in study.settings if len({run.seed for run in one.runs}) < len(one.runs)]
    if twice:
        sentences.append(f"More than one run of the same settings and seed, each counted: {'; '.join(twice)}.")
    return sentences


def _version(run: Run) -> str:
    versions = run.results.get("versions") or {}
    git = versions.get("git")
    if git:
        return f"commit {git['commit'][:10]}{' with changes' if git['dirty'] else ''}"
    return f"secseg {versions.get('packages', {}).get('secseg', 'of unknown version')}"


def _title(study: Study) -> str:
    names = sorted({str(run.config["name"]) for setting in study.settings for run in setting.runs})
    return ", ".join(names)


def check(config: Mapping[str, Any]) -> None:
    """Raise a UserError for settings out of range."""
    refuse(check_whole("images", config["images"], 0))


def _sources(drawings: Sequence[Drawing]) -> list[tuple[str, str]]:
    return [(drawing.title, figure_source(drawing.figure)) for drawing in drawings]


def _sign(way: Style) -> str:
    return f"{_LINES[way.line]}{_MARKS[way.mark]}"


def _command(run: Run) -> str:
    path = run.folder / COMMAND
    return (
        path.read_text("utf-8", errors="replace").strip()
        if path.is_file()
        else f"# {run.folder}: its command was not written down"
    )
