"""Mean and spread over seeds, and the difference to the baseline with its interval over images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from secseg.evaluation.bootstrap import Difference, bootstrap_difference
from secseg.report.runs import VARIANTS
from secseg.report.study import Setting, Study


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
    """What a setting came to: by variant, its mean IoU, that of each class, and the difference to the baseline; in
    [0, 1]. A variant that was not scored is left out, and so is the difference where counts by image are missing."""

    setting: Setting
    miou: Mapping[str, Spread]
    iou: Mapping[str, Mapping[str, Spread]]
    difference: Mapping[str, Difference]


def study_rows(study: Study) -> list[Row]:
    """Return the figures of each setting."""
    return [_row(study, setting) for setting in study.settings]


def best(rows: list[Row], variant: str) -> Row | None:
    """Return the row of the highest mean IoU; None where no setting has the variant."""
    scored = [row for row in rows if variant in row.miou]
    return max(scored, key=lambda row: row.miou[variant].mean) if scored else None


def _row(study: Study, setting: Setting) -> Row:
    miou, iou, difference = {}, {}, {}
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
    return Row(setting, miou, iou, difference)


def _difference(study: Study, setting: Setting, variant: str) -> Difference | None:
    runs = [*study.baseline.runs, *setting.runs]
    images, classes = runs[0].counts.names, runs[0].counts.class_names
    for run in runs:
        counts = run.counts
        if variant not in counts.by_variant or (counts.names, counts.class_names) != (images, classes):
            return None
    first, second = (
        np.stack([run.counts.by_variant[variant] for run in one.runs]) for one in (study.baseline, setting)
    )
    return bootstrap_difference(first, second, [classes.index(name) for name in study.scored])
