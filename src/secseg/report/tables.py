"""A study as text: ``report.md`` for reading, ``results.csv`` for everything else."""

from __future__ import annotations

from collections.abc import Sequence

from secseg.files import csv_text
from secseg.report.runs import VARIANTS
from secseg.report.statistics import Row, Spread, best
from secseg.report.study import Study

TITLES = {"without_crf": "without CRF", "with_crf": "with CRF"}


def results_csv(study: Study) -> str:
    """Return a line a run: swept values, seed, IoU in percent, seconds, bytes, folder."""
    figures = [(variant, name) for variant in VARIANTS for name in ("miou", *study.scored)]
    lines: list[list[object]] = [
        [*study.swept, "seed", *(f"{name}_{variant}" for variant, name in figures), "seconds", "peak_bytes", "folder"]
    ]
    for setting in study.settings:
        for run in setting.runs:
            values = []
            for variant, name in figures:
                score = run.scores(variant)
                value = None if score is None else score["miou"] if name == "miou" else score["iou"].get(name)
                values.append("" if value is None else f"{100 * value:.2f}")
            times = run.results["time"]
            lines.append(
                [
                    *(setting.values[key] for key in study.swept),
                    run.seed,
                    *values,
                    *("" if times.get(key) is None else round(times[key]) for key in ("seconds", "peak_bytes")),
                    run.folder.name,
                ]
            )
    return csv_text(lines)


def main_table(study: Study, rows: Sequence[Row]) -> list[list[str]]:
    """Return head and lines: swept values, runs, and for each variant the mean over seeds, its spread and the difference
    to the baseline. The best of each variant is between ``**``."""
    variants = [variant for variant in VARIANTS if any(variant in row.miou for row in rows)]
    head = [*(study.swept or ("setting",)), "seeds"]
    for variant in variants:
        head += [f"mean IoU {TITLES[variant]}", "to the baseline (95 % over images)"]
    lines = [head]
    for row in rows:
        line = [*(row.setting.values.values() or ("all runs",)), str(len(row.setting.runs))]
        for variant in variants:
            text = spread(row.miou.get(variant))
            line.append(f"**{text}**" if row is best(list(rows), variant) and len(rows) > 1 else text)
            line.append("baseline" if row.setting is study.baseline else difference(row, variant))
        lines.append(line)
    return lines


def class_table(study: Study, rows: Sequence[Row], variant: str) -> list[list[str]]:
    """Return head and lines: settings by classes, the mean IoU over seeds in percent; the best of each class bold."""
    lines = [["setting", *study.scored]]
    means = {
        name: {row.setting.name: found.mean for row in rows if (found := row.iou.get(variant, {}).get(name))}
        for name in study.scored
    }
    for row in rows:
        line = [row.setting.name]
        for name in study.scored:
            value = means[name].get(row.setting.name)
            text = "-" if value is None else f"{100 * value:.1f}"
            top = value is not None and len(rows) > 1 and value == max(means[name].values())
            line.append(f"**{text}**" if top else text)
        lines.append(line)
    return lines


def cost_table(rows: Sequence[Row]) -> list[list[str]]:
    """Return head and lines: settings by the time and memory of a run, means over seeds."""
    lines = [["setting", "minutes a run", "seconds a step", "CRF's share of it, %", "memory, GB"]]
    for row in rows:
        times = [run.results["time"] for run in row.setting.runs]
        columns = (("seconds", 1 / 60), ("step_seconds", 1.0), ("crf_share", 100.0), ("peak_bytes", 1e-9))
        line = [row.setting.name]
        for key, factor in columns:
            values = [time[key] * factor for time in times if time.get(key) is not None]
            line.append(f"{sum(values) / len(values):.3g}" if values else "-")
        lines.append(line)
    return lines


def spread(found: Spread | None) -> str:
    """Return mean and standard deviation over seeds, in percent: ``58.2 ± 0.3``."""
    if found is None:
        return "-"
    return f"{100 * found.mean:.1f}" + ("" if found.deviation is None else f" ± {100 * found.deviation:.1f}")


def difference(row: Row, variant: str) -> str:
    """Return the difference to the baseline with its interval, in points: ``-3.1 (-4.0 to -2.2)``."""
    found = row.difference.get(variant)
    if found is None:
        return "-"
    return f"{100 * found.difference:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Return lines, the first of which is the head, as a Markdown table."""
    head, *body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([head, "|" + " --- |" * len(lines[0]), *body])
