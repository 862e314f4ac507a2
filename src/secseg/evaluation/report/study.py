"""A study: the settings that a set of runs swept, each with its runs over seeds, and their figures."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from secseg.evaluation.bootstrap import Difference, bootstrap_difference
from secseg.evaluation.metrics import size_bias
from secseg.evaluation.report.runs import VARIANTS, Run
from secseg.utils.config import flatten, loss_weights, result_settings
from secseg.utils.errors import UserError, nearest

_GROUPS = ("loss", "decay", "seeds", "crf", "backbone", "optim", "trainer")
"""Groups that are shown by the names of their options, if all runs record these."""
_WORDS = re.compile(r",(?=[\w.]+=)")
"""What separates the words of a setting's name; values can hold commas, too."""


@dataclass(frozen=True)
class Setting:
    """One combination of the swept values, as text by key, with its runs in the order of their seeds."""

    values: Mapping[str, str]
    runs: tuple[Run, ...]

    @property
    def name(self) -> str:
        return ", ".join(f"{key}={value}" for key, value in self.values.items()) or "all runs"


@dataclass(frozen=True)
class Study:
    """The settings of a set of runs, in the order of their values, which differ in the keys ``swept``.

    Attributes:
        baseline: the setting that the others are compared with.
        scored: names of the scored classes.
    """

    swept: tuple[str, ...]
    settings: tuple[Setting, ...]
    baseline: Setting
    scored: tuple[str, ...]

    def main_variant(self) -> str:
        """Return ``with_crf`` if every run has it, else ``without_crf``."""
        every = all(run.scores("with_crf") is not None for setting in self.settings for run in setting.runs)
        return "with_crf" if every else "without_crf"


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (None for one run) of ``values``, one for each seed."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float | None:
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Row:
    """The figures of a setting, by variant, as far as they were measured. Differences and bias need counts by image.

    Attributes:
        miou, iou: in [0, 1]; classes that are in neither truth nor prediction have no IoU.
        difference: difference to the baseline, in [-1, 1].
        bias: predicted over true area of each class; 1 is unbiased.
    """

    setting: Setting
    miou: Mapping[str, Spread]
    iou: Mapping[str, Mapping[str, Spread]]
    difference: Mapping[str, Difference]
    bias: Mapping[str, Mapping[str, Spread]]


def open_study(runs: Sequence[Run], baseline: str | None = None) -> Study:
    """Group runs, at least one, by their settings.

    ``baseline`` is the name of a setting (``loss=sec``), or None for the best setting.

    Raises:
        UserError: for runs with different scored classes or images, or an unknown baseline.
    """
    protocols = [run.results["protocol"] for run in runs]
    for key, what in (("scored", "classes"), ("val_split", "splits"), ("val_images", "numbers of images")):
        if len({str(protocol.get(key)) for protocol in protocols}) > 1:
            found = sorted({f"{protocol.get(key)}" for protocol in protocols})
            raise UserError(f"These runs were scored on different {what}: {'; '.join(found)}. Report them separately.")
    columns = _columns(runs)
    swept = _independent(columns)
    groups: dict[tuple[str, ...], list[Run]] = {}
    for number, run in enumerate(runs):
        groups.setdefault(tuple(columns[key][number] for key in swept), []).append(run)
    settings = tuple(
        Setting(dict(zip(swept, values, strict=True)), tuple(sorted(members, key=lambda run: run.seed)))
        for values, members in sorted(groups.items(), key=lambda item: [_order(value) for value in item[0]])
    )
    study = Study(tuple(swept), settings, settings[0], tuple(protocols[0]["scored"]))
    return Study(study.swept, settings, _baseline(study, baseline), study.scored)


def _baseline(study: Study, name: str | None) -> Setting:
    if name is None:
        variant = study.main_variant()

        def mean(setting: Setting) -> float:
            scores = [run.scores(variant) for run in setting.runs]
            return sum(score["miou"] or 0 for score in scores if score) / len(scores)

        return max(study.settings, key=mean)
    by_name = {setting.name.replace(" ", ""): setting for setting in study.settings}
    wanted = name.replace(" ", "")
    words = set(_WORDS.split(wanted))
    fitting = [wanted] if wanted in by_name else [full for full in by_name if words <= set(_WORDS.split(full))]
    if len(fitting) == 1:
        return by_name[fitting[0]]
    problem = "several settings fit." if fitting else f"no such setting.{nearest(wanted, by_name)}"
    raise UserError(f"baseline={name}: {problem} The settings are: {'; '.join(fitting or by_name)}.")


def _columns(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Return the keys whose values differ between runs, with the value of each run as text; groups by their option."""
    columns: dict[str, list[str]] = {}
    for group in _GROUPS:
        options = [run.options.get(group) for run in runs]
        if None not in options and len(set(map(str, options))) > 1:
            columns[group] = list(map(str, options))
    flat = [_flat(run.config) for run in runs]
    for key in sorted({key for settings in flat for key in settings} - {"seed"}):
        values = [_as_text(settings.get(key)) for settings in flat]
        if len(set(values)) > 1:
            columns[key] = values
    return columns


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings by dotted key. ``loss.<term>`` is the weight, also if the term has further options."""
    settings = result_settings(config)
    loss = settings["loss"]
    nodes = {term: node for term, node in loss.items() if isinstance(node, Mapping)}
    options = {f"{term}.{key}": node[key] for term, node in nodes.items() for key in node if key != "weight"}
    return flatten({**settings, "loss": {**loss_weights(loss), **options}})


def _independent(columns: Mapping[str, Sequence[str]]) -> list[str]:
    """Leave out each key whose values follow from another key.

    Keys with more different values are kept first, and names of classes last.
    """
    kept: list[str] = []
    for key in sorted(columns, key=lambda key: (-len(set(columns[key])), key.endswith("_target_"))):
        others = [columns[other] for other in kept]
        if all(len(set(zip(other, columns[key], strict=True))) > len(set(other)) for other in others):
            kept.append(key)
    return sorted(kept, key=list(columns).index)


def _as_text(value: Any) -> str:
    if isinstance(value, str) and "/" in value:
        return "/".join(Path(value).parts[-2:])
    if isinstance(value, float) and value.is_integer():
        return f"{value:.0f}"  # 1.0 and 1 are the same setting
    return "null" if value is None else str(value)


def as_number(text: str) -> float | None:
    """Return the finite number that a text states, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _order(value: str) -> tuple[bool, float, str]:
    number = as_number(value)
    return number is None, number or 0.0, value


def study_rows(study: Study) -> list[Row]:
    """Return the figures of each setting."""
    return [_row(study, setting) for setting in study.settings]


def best(rows: Sequence[Row], variant: str) -> Row | None:
    """Return the row with the highest mean IoU; None if no setting has the variant."""
    scored = [row for row in rows if variant in row.miou]
    return max(scored, key=lambda row: row.miou[variant].mean) if scored else None


def _row(study: Study, setting: Setting) -> Row:
    miou, iou, difference, bias = {}, {}, {}, {}
    for variant in VARIANTS:
        every = (run.scores(variant) for run in setting.runs)
        scores = [score for score in every if score is not None and score["miou"] is not None]
        if not scores:
            continue
        miou[variant] = Spread(tuple(score["miou"] for score in scores))
        iou[variant] = {
            name: Spread(values)
            for name in study.scored
            if (values := tuple(v for score in scores if (v := score["iou"].get(name)) is not None))
        }
        if setting is not study.baseline and (found := _difference(study, setting, variant)) is not None:
            difference[variant] = found
        if found_bias := _bias(study, setting, variant):
            bias[variant] = found_bias
    return Row(setting, miou, iou, difference, bias)


def _bias(study: Study, setting: Setting, variant: str) -> dict[str, Spread]:
    values: dict[str, list[float]] = {name: [] for name in study.scored}
    for run in setting.runs:
        counts = run.counts
        if variant in counts.by_variant:
            by_class = dict(zip(counts.class_names, size_bias(counts.total(variant)), strict=True))
            for name in study.scored:
                if np.isfinite(by_class[name]):
                    values[name].append(float(by_class[name]))
    return {name: Spread(tuple(found)) for name, found in values.items() if found}


def _difference(study: Study, setting: Setting, variant: str) -> Difference | None:
    runs = [*study.baseline.runs, *setting.runs]
    images, classes = runs[0].counts.names, runs[0].counts.class_names
    for run in runs:
        counts = run.counts
        if variant not in counts.by_variant or (counts.names, counts.class_names) != (images, classes):
            return None
    first, second = ([run.counts.by_variant[variant] for run in one.runs] for one in (study.baseline, setting))
    return bootstrap_difference(first, second, [classes.index(name) for name in study.scored])
