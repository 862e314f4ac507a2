"""A study as one HTML file: tables that sort, figures, and a gallery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from secseg.files import COMMAND
from secseg.pages import figure_source, render
from secseg.report.figures import Drawing, Style, classes, effects, learning_curves, styles
from secseg.report.gallery import gallery
from secseg.report.runs import Run
from secseg.report.statistics import Row
from secseg.report.study import Study
from secseg.report.tables import Table

MOST = 12
"""Most settings that curves, classes and the gallery show."""
_MARKS = {"o": "●", "s": "■", "^": "▲"}
_LINES = {"-": "──", "--": "╌╌", ":": "┈┈"}


def report_page(
    study: Study,
    rows: Sequence[Row],
    tables: Sequence[Table],
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
        tables: what :func:`secseg.report.tables.tables` returns.
        title, note, warnings: sentences for its head.
        unfinished: folders, and why the run in each is not finished.
        images: how many are in the gallery.
        command: that made the report.

    Raises:
        UserError: for damaged files of a run.
    """
    variant = study.main_variant()
    shown = _shown(study, rows, variant)
    ways = styles(len(shown))
    pictures = gallery(study, [row.setting for row in shown], images)
    few = len(shown) < len(rows)
    return render(
        "report.html",
        title=title,
        note=note,
        warnings=warnings,
        tables=tables,
        unfinished=unfinished,
        effects=_sources(effects(study, rows)),
        many_keys=len(study.swept) > 1,
        curves=_sources(learning_curves(shown, ways)),
        classes=_sources(classes(study, shown, ways, variant)),
        legend=[(row.setting.name, way.colour, _sign(way)) for row, way in zip(shown, ways, strict=True)],
        some=f" Of {len(rows)} settings, the baseline and the {len(shown) - 1} best others are shown." if few else "",
        gallery=pictures,
        data=asdict(pictures),
        command=command,
        trained=[(row.setting.name, [_command(run) for run in row.setting.runs]) for row in rows],
    )


def _shown(study: Study, rows: Sequence[Row], variant: str) -> list[Row]:
    """The baseline and the best others, in the order of the rows."""

    def rank(row: Row) -> tuple[bool, float]:
        return row.setting is not study.baseline, -row.miou[variant].mean if variant in row.miou else 0.0

    kept = sorted(rows, key=rank)[:MOST]
    return [row for row in rows if row in kept]


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
