"""Tables of a study, for the page and ``report.md``, and ``results.csv`` for other programs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from secseg.data.splits import TUNED_MARK, is_tuned_split, tuned_note
from secseg.drawing.charts import LABELS
from secseg.evaluation.report.runs import VARIANTS, Run
from secseg.evaluation.report.study import Row, Spread, Study, as_number, best
from secseg.utils.console import markdown_table, percent
from secseg.utils.console import table as terminal_table
from secseg.utils.files import csv_text

PROTOCOL = {
    "labels": "image-level labels",
    "cues": "cues",
    "training_masks": "training masks",
    "trunk_pretraining": "pretraining of the trunk",
    "scored_masks": "masks that scored",
    "labels_restrict_predictions": "labels restrict the predictions",
    "tuned_on": "settings chosen on",
}
"""What the report states of the protocol, with the title of each line."""
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
    """A table: its title, the names of its columns, a line for each setting, and a line under it."""

    title: str
    head: Sequence[str]
    lines: Sequence[Sequence[Cell]]
    note: str = ""


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
    """Return all tables: mean IoU, IoU by class of each variant, protocol, time and memory."""
    variants = [variant for variant in VARIANTS if any(variant in row.miou for row in rows)]
    by_class = [class_table(study, rows, variant) for variant in reversed(variants)]
    return [main_table(study, rows, variants), *by_class, protocol_table(study), cost_table(rows)]


def main_table(study: Study, rows: Sequence[Row], variants: Sequence[str] = VARIANTS) -> Table:
    """Return swept values, number of runs, and for each variant the mean over seeds, its spread and the difference to
    the baseline. The best mean, differences whose interval does not hold 0, and means on the split on which settings
    were chosen, are marked."""
    head = [*(study.swept or ("setting",)), "runs"]
    for variant in variants:
        head += [f"mean IoU {LABELS[variant]}", "to the baseline (95 % over images)"]
    tops = {variant: best(rows, variant) for variant in variants}
    lines = []
    tuned = [row.setting for row in rows if any(map(_is_tuned, row.setting.runs))]
    for row in rows:
        line = [Cell(value, as_number(value)) for value in row.setting.values.values() or ("all runs",)]
        line.append(Cell(str(len(row.setting.runs)), len(row.setting.runs)))
        for variant in variants:
            found = row.miou.get(variant)
            mark = "best" if row is tops[variant] and len(rows) > 1 else ""
            text = spread(found) + (TUNED_MARK if row.setting in tuned and found is not None else "")
            line.append(Cell(text, None if found is None else found.mean, mark))
            line.append(Cell("baseline", 0.0) if row.setting is study.baseline else difference(row, variant))
        lines.append(line)
    split = study.settings[0].runs[0].results["protocol"]["val_split"]
    return Table("Mean IoU", head, lines, tuned_note(split) if tuned else "")


def _is_tuned(run: Run) -> bool:
    protocol = run.results["protocol"]
    return is_tuned_split(protocol.get("tuned_on"), protocol["val_split"])


def protocol_table(study: Study) -> Table:
    """Return what the figures were measured with, a line for each entry of ``PROTOCOL``; values that differ between
    runs are all listed. A dash stands for what no run states."""
    runs = [run.results["protocol"] for setting in study.settings for run in setting.runs]
    lines = []
    for key, title in PROTOCOL.items():
        found = dict.fromkeys(protocol_text(protocol[key]) for protocol in runs if protocol.get(key) is not None)
        lines.append([Cell(title), Cell("; ".join(found) or "-")])
    return Table("Protocol", ["what", "value"], lines)


def protocol_text(value: object) -> str:
    """Return an entry of the protocol as text; of cues, what states where they come from."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(str(value[key]) for key in ("source", "file", "data", "localization") if value.get(key))
    return str(value)


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
    return "\n".join([title, terminal_table(rows, left), *([table.note] if table.note else [])])


def markdown(table: Table) -> str:
    """Return a table in Markdown, the best values in bold."""
    lines = [[escaped(cell.text) for cell in line] for line in table.lines]
    for line, cells in zip(lines, table.lines, strict=True):
        line[:] = [f"**{text}**" if cell.mark == "best" else text for text, cell in zip(line, cells, strict=True)]
    return markdown_table(list(map(escaped, table.head)), lines) + (f"\n\n{escaped(table.note)}" if table.note else "")


def escaped(text: str) -> str:
    """Return a text as one line in which Markdown sees no mark-up."""
    return re.sub(r"([\\`*<|~\[\]]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()))
