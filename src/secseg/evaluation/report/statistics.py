"""Mean and spread over seeds, and the difference to the baseline with its interval over images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from secseg.evaluation.bootstrap import Difference, bootstrap_difference
from secseg.evaluation.metrics import size_bias
from secseg.evaluation.report.runs import VARIANTS
from secseg.evaluation.report.study import Setting, Study


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (of a sample; None for one run) of ``values``, one a seed."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float | None:
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Row:
    """What a setting came to, by variant; a variant that was not scored is left out.

    Attributes:
        setting: the setting.
        miou: mean IoU, in [0, 1].
        iou: IoU of each class; without classes that are in neither truth nor prediction.
        difference: to the baseline, in [-1, 1]; left out where counts by image are missing.
        bias: predicted over true area of each class, 1 is unbiased; left out where counts by image are missing.
    """

    setting: Setting
    miou: Mapping[str, Spread]
    iou: Mapping[str, Mapping[str, Spread]]
    difference: Mapping[str, Difference]
    bias: Mapping[str, Mapping[str, Spread]]


def study_rows(study: Study) -> list[Row]:
    """Return the figures of each setting."""
    return [_row(study, setting) for setting in study.settings]


def best(rows: Sequence[Row], variant: str) -> Row | None:
    """Return the row of the highest mean IoU; None where no setting has the variant."""
    scored = [row for row in rows if variant in row.miou]
    return max(scored, key=lambda row: row.miou[variant].mean) if scored else None


def _row(study: Study, setting: Setting) -> Row:
    miou, iou, difference, bias = {}, {}, {}, {}
    for variant in VARIANTS:
        scores = [score for run in setting.runs if (score := run.scores(variant)) is not None]
        scores = [score for score in scores if score["miou"] is not None]
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
