"""A study as one HTML file: tables that sort, figures, and a gallery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from secseg.drawing.html import figure_source, render, svg
from secseg.evaluation.report.gallery import gallery
from secseg.evaluation.report.plots import Drawing, Style, add_legend, classes, effects, learning_curves, styles
from secseg.evaluation.report.runs import Run
from secseg.evaluation.report.statistics import Row
from secseg.evaluation.report.study import Study
from secseg.evaluation.report.study_tables import Table
from secseg.utils.files import COMMAND, write_text

MOST = 12
"""Most settings that curves, classes and the gallery show."""
_MARKS = {"o": "●", "s": "■", "^": "▲"}
_LINES = {"-": "──", "--": "╌╌", ":": "┈┈"}


class Figures(NamedTuple):
    """The figures of a study.

    Attributes:
        shown: the baseline and the best others, which ``curves`` and ``classes`` show.
        ways: how each of these is drawn.
        effects, curves, classes: the figures.
    """

    shown: Sequence[Row]
    ways: Sequence[Style]
    effects: Sequence[Drawing]
    curves: Sequence[Drawing]
    classes: Sequence[Drawing]

    @property
    def drawings(self) -> Sequence[Drawing]:
        """All of them."""
        return (*self.effects, *self.classes, *self.curves)


def draw(study: Study, rows: Sequence[Row]) -> Figures:
    """Draw the figures of a study.

    Raises:
        UserError: for damaged files of a run.
    """
    shown = _shown(study, rows)
    ways = styles(len(shown))
    dots = classes(study, shown, ways, study.main_variant())
    return Figures(shown, ways, effects(study, rows), learning_curves(shown, ways), dots)


def write_figures(folder: Path, figures: Figures) -> None:
    """Write each figure into ``folder`` as an SVG, those of many settings with a legend, which the page has but once.

    Raises:
        UserError: where the folder cannot be written.
    """
    names = [row.setting.name for row in figures.shown]
    for drawing in (*figures.curves, *figures.classes):
        add_legend(drawing.figure, names, figures.ways)
    for drawing in figures.drawings:
        write_text(folder / drawing.file, svg(drawing.figure).decode("utf-8"))


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


def _shown(study: Study, rows: Sequence[Row]) -> list[Row]:
    """The baseline and the best others, in the order of the rows."""
    variant = study.main_variant()

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
