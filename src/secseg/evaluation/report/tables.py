"""Tables of a study, for the page and ``report.md``, and ``results.csv`` for other programs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from secseg.drawing.charts import LABELS
from secseg.evaluation.report.runs import VARIANTS
from secseg.evaluation.report.study import Row, Spread, Study, as_number, best
from secseg.utils.console import markdown_table, percent
from secseg.utils.console import table as terminal_table
from secseg.utils.files import csv_text

SIGNS = {"higher": " ▲", "lower": " ▼"}
_RUN = ("step_seconds", "seconds", "peak_bytes")


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
        text: the text.
        value: sort key; None sorts last, and a column without values sorts by text.
        mark: ``best`` of its column, clearly ``higher`` or ``lower`` than the baseline, or empty.
    """

    text: str
    value: float | None = None
    mark: str = ""


class Table(NamedTuple):
    """A table: its title, the names of its columns, and a line for each setting."""

    title: str
    head: Sequence[str]
    lines: Sequence[Sequence[Cell]]


def results_csv(study: Study) -> str:
    """Return a CSV line for each run: swept values, seed, IoU in percent, seconds, bytes, folder."""
    names = ("miou", *study.scored)
    titles = [f"{name}_{variant}" for variant in VARIANTS for name in names]
    lines: list[list[object]] = [[*study.swept, "seed", *titles, *_RUN, "folder"]]
    for setting in study.settings:
        for run in setting.runs:
            scores = []
            for score in map(run.scores, VARIANTS):
                values = {} if score is None else {**score["iou"], "miou": score["miou"]}
                scores += [values.get(name) for name in names]
            times = [run.results["time"].get(key) for key in _RUN]
            lines.append(
                [
                    *setting.values.values(),
                    run.seed,
                    *("" if score is None else f"{100 * score:.2f}" for score in scores),
                    *("" if time is None else f"{time:.6g}" for time in times),
                    run.folder.name,
                ]
            )
    return csv_text(lines)


def tables(study: Study, rows: Sequence[Row]) -> list[Table]:
    """Return all tables: mean IoU, IoU by class of each variant, time and memory."""
    variants = [variant for variant in VARIANTS if any(variant in row.miou for row in rows)]
    by_class = [class_table(study, rows, variant) for variant in reversed(variants)]
    return [main_table(study, rows, variants), *by_class, cost_table(rows)]


def main_table(study: Study, rows: Sequence[Row], variants: Sequence[str] = VARIANTS) -> Table:
    """Return swept values, number of runs, and for each variant the mean over seeds, its spread and the difference to
    the baseline. The best mean, and differences whose interval does not hold 0, are marked."""
    head = [*(study.swept or ("setting",)), "runs"]
    for variant in variants:
        head += [f"mean IoU {LABELS[variant]}", "to the baseline (95 % over images)"]
    tops = {variant: best(rows, variant) for variant in variants}
    lines = []
    for row in rows:
        line = [Cell(value, as_number(value)) for value in row.setting.values.values() or ("all runs",)]
        line.append(Cell(str(len(row.setting.runs)), len(row.setting.runs)))
        for variant in variants:
            found = row.miou.get(variant)
            mark = "best" if row is tops[variant] and len(rows) > 1 else ""
            line.append(Cell(spread(found), None if found is None else found.mean, mark))
            line.append(Cell("baseline", 0.0) if row.setting is study.baseline else difference(row, variant))
        lines.append(line)
    return Table("Mean IoU", head, lines)


def class_table(study: Study, rows: Sequence[Row], variant: str) -> Table:
    """Return the IoU in percent of each setting and class, mean over seeds. The best of each class is marked, unless
    all are equal."""
    means: dict[str, dict[str, float]] = {
        name: {row.setting.name: found.mean for row in rows if (found := row.iou.get(variant, {}).get(name))}
        for name in study.scored
    }
    lines = []
    for row in rows:
        line = [Cell(row.setting.name)]
        for name in study.scored:
            values = means[name].values()
            value = means[name].get(row.setting.name)
            top = value is not None and value == max(values) > min(values)
            line.append(Cell(percent(value), value, "best" if top else ""))
        lines.append(line)
    return Table(f"IoU by class, {LABELS[variant]}", ["setting", *study.scored], lines)


def cost_table(rows: Sequence[Row]) -> Table:
    """Return time and memory of a run of each setting, means over seeds. What no run measured is left out."""
    columns: Mapping[str, tuple[str, float]] = {
        "minutes per run": ("seconds", 1 / 60),
        "seconds per step": ("step_seconds", 1.0),
        "CRF's share of a step, %": ("crf_share", 100.0),
        "peak memory of the process, GB": ("peak_bytes", 1e-9),
        "peak memory of the GPU, GB": ("peak_gpu_bytes", 1e-9),
    }
    runs = [run for row in rows for run in row.setting.runs]
    columns = {
        name: column
        for name, column in columns.items()
        if any(run.results["time"].get(column[0]) is not None for run in runs)
    }
    lines = []
    for row in rows:
        line = [Cell(row.setting.name)]
        for key, factor in columns.values():
            times = [run.results["time"].get(key) for run in row.setting.runs]
            values = [time * factor for time in times if time is not None]
            mean = sum(values) / len(values) if values else None
            line.append(Cell("-" if mean is None else f"{mean:.3g}", mean))
        lines.append(line)
    return Table("Time and memory", ["setting", *columns], lines)


def spread(found: Spread | None) -> str:
    """Return mean and standard deviation over seeds, in percent: ``58.2 ± 0.3``."""
    if found is None:
        return "-"
    return percent(found.mean) + ("" if found.deviation is None else f" ± {100 * found.deviation:.1f}")


def difference(row: Row, variant: str) -> Cell:
    """Return the difference to the baseline with its interval, in points: ``-3.1 (-4.0 to -2.2)``."""
    found = row.difference.get(variant)
    if found is None or not all(map(math.isfinite, found)):
        return Cell("-")
    mark = "higher" if found.low > 0 else "lower" if found.high < 0 else ""
    text = f"{100 * found.difference:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f}){SIGNS.get(mark, '')}"
    return Cell(text, found.difference, mark)


def plain(table: Table, left: int) -> str:
    """Return a table of mean IoU for the terminal: its title, and columns of which ``left`` are aligned to the left."""
    head = [title.removeprefix("mean IoU ").partition(" (")[0] for title in table.head]
    rows = [head, *([cell.text for cell in line] for line in table.lines)]
    title = f"{table.title}, %, and difference to the baseline with its 95 % interval over images"
    return f"{title}\n{terminal_table(rows, left)}"


def markdown(table: Table) -> str:
    """Return a table in Markdown, the best values in bold."""
    lines = [[escaped(cell.text) for cell in line] for line in table.lines]
    for line, cells in zip(lines, table.lines, strict=True):
        line[:] = [f"**{text}**" if cell.mark == "best" else text for text, cell in zip(line, cells, strict=True)]
    return markdown_table(list(map(escaped, table.head)), lines)


def escaped(text: str) -> str:
    """Return a text as one line in which Markdown sees no mark-up."""
    return re.sub(r"([\\`*<|~\[\]]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()))
