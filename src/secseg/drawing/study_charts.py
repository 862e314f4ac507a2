"""Charts that compare the settings of a study: effects, learning curves, classes. Small, to fit a narrow page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from secseg.drawing.charts import COLOURS, LABELS, LONGEST, MARKERS, label_ratios, log_ratios, name_ticks

# Okabe and Ito's colours, which colour-blind readers can distinguish, with grey instead of yellow, which is too pale.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8a8a8a")
Line: TypeAlias = Literal["-", "--", ":"]
LINES: tuple[Line, ...] = ("-", "--", ":")
MARKS = ("o", "s", "^")
Points = Sequence[tuple[str, Sequence[float]]]
"""Values of a swept key, as text, each with the mean IoU of its runs in [0, 1]."""


class Style(NamedTuple):
    """Colour, line and marker of a setting, the same in all charts."""

    colour: str
    line: Line
    mark: str


class Drawing(NamedTuple):
    """A figure with its title and the name of its file."""

    title: str
    figure: Figure
    name: str

    @property
    def file(self) -> str:
        """The file's name: letters, digits and ``-.,=+_`` only, whatever the swept key is called."""
        return f"{re.sub(r'[^-.,=+a-zA-Z0-9_]', '_', self.name)}.svg"


def setting_styles(count: int) -> list[Style]:
    """Return the styles of ``count`` settings: eight colours, then the same colours with other lines and markers."""
    styles = [Style(colour, line, mark) for line, mark in zip(LINES, MARKS, strict=True) for colour in PALETTE]
    return [styles[number % len(styles)] for number in range(count)]


def effect_chart(key: str, values: Sequence[str], lines: Mapping[str, Sequence[Points]]) -> Figure:
    """Draw the mean IoU against a swept key: mean and standard deviation of the runs with a value, each run as a dot.

    ``lines`` has, by variant, for each combination of the other keys the runs; several get a thin line each.
    """
    place, scale = place_values(values)
    words = scale == "words"
    figure, axes = _figure(max(4.2, 0.75 * len(place)) if words else 4.2)
    for number, (variant, combinations) in enumerate(lines.items()):
        shift = 0.16 * (number - (len(lines) - 1) / 2) if words else 0.0
        if len(combinations) > 1:
            for points in combinations:
                means = [100 * np.mean(found) for _, found in points]
                at = [place[value] + shift for value, _ in points]
                axes.plot(at, means, color=COLOURS[variant], alpha=0.3, linewidth=0.8)
        by_value: dict[str, list[float]] = {value: [] for value in place}
        for value, found in (point for points in combinations for point in points):
            by_value[value] += [100 * one for one in found]
        runs = {place[value] + shift: found for value, found in by_value.items() if found}
        _error_bars(axes, runs, variant, words)
    _label_values(axes, key, place, scale)
    axes.set_ylabel("mean IoU, %")
    axes.margins(x=0.1)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    return figure


def _error_bars(axes: Axes, runs: Mapping[float, Sequence[float]], variant: str, words: bool) -> None:
    """Draw the means of the runs at each place with their deviations, and the runs as dots."""
    axes.errorbar(
        list(runs),
        [float(np.mean(found)) for found in runs.values()],
        [float(np.std(found, ddof=1)) if len(found) > 1 else 0.0 for found in runs.values()],
        fmt=MARKERS[variant],
        linestyle="none" if words else "-",
        color=COLOURS[variant],
        capsize=3,
        linewidth=1.6,
        label=LABELS[variant],
    )
    for at, found in runs.items():
        shifted = at + (0.07 if words else 0.0)
        axes.plot([shifted] * len(found), found, ".", color=COLOURS[variant], markersize=3, alpha=0.6)


def _label_values(axes: Axes, key: str, place: Mapping[str, float], scale: str) -> None:
    if scale == "log":
        axes.set_xscale("log")
        axes.minorticks_off()
    slanted = max(map(len, place)) * len(place) > 40
    axes.set_xticks(list(place.values()), list(place), fontsize=8, parse_math=False, rotation=30 if slanted else 0)
    if slanted:
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
    axes.set_xlabel(f"{key} (not to scale)" if scale == "even" else key, parse_math=False)


def place_values(values: Sequence[str]) -> tuple[dict[str, float], str]:
    """Return the place of each value on an axis, and the axis.

    The axis is ``words``, or for numbers ``linear``, ``log`` or, if two numbers would lie too close together on these,
    ``even``: in their order, at equal distances.
    """
    try:
        place = {value: float(value) for value in sorted(dict.fromkeys(values), key=float)}
    except ValueError:
        return {value: float(number) for number, value in enumerate(dict.fromkeys(values))}, "words"
    numbers = np.array(list(place.values()))
    scale = "log" if numbers[0] > 0 and numbers[-1] >= 20 * numbers[0] else "linear"
    at = np.log(numbers) if scale == "log" else numbers
    if len(at) > 1 and np.diff(at).min() <= 0.06 * (at[-1] - at[0]):
        return {value: float(number) for number, value in enumerate(place)}, "even"
    return place, scale


def curve_chart(curves: Sequence[tuple[np.ndarray, np.ndarray]], styles: Sequence[Style], loss: bool) -> Figure | None:
    """Draw a curve over the steps for each setting: the mean over its runs, with a band from the lowest to the highest.

    Args:
        curves: for each setting the steps (n) and the values (runs, n); one with fewer than two steps is left out.
        styles: styles of the settings.
        loss: whether the values are losses, whose axis starts at 0.

    Returns:
        The figure; None if it would be empty.
    """
    figure, axes = _figure()
    for (steps, values), style in zip(curves, styles, strict=True):
        if len(steps) > 1:
            marker = "." if len(steps) <= 20 else None
            axes.plot(steps, values.mean(0), color=style.colour, linestyle=style.line, marker=marker, linewidth=1.5)
            axes.fill_between(steps, values.min(0), values.max(0), color=style.colour, alpha=0.15, linewidth=0)
    axes.set_xlabel("step")
    axes.set_xlim(0, None)
    if loss:
        axes.set_ylim(0, None)
    return figure if axes.lines else None


def iou_chart(
    names: Sequence[str], settings: Sequence[Mapping[str, Sequence[float]]], styles: Sequence[Style]
) -> Figure | None:
    """Draw the IoU of each class: a dot for each setting, with a line from its lowest to its highest run.

    ``settings`` has for each setting the IoU of the runs in [0, 1], by class. The result is None if no setting has any
    class.
    """
    percent = [{name: [100 * value for value in found] for name, found in one.items()} for one in settings]
    figure = _dots(names, percent, styles)
    if figure is not None:
        figure.axes[0].set_xlim(-2, 102)
        figure.axes[0].set_xlabel("IoU, %")
    return figure


def bias_chart(
    names: Sequence[str], settings: Sequence[Mapping[str, Sequence[float]]], styles: Sequence[Style]
) -> Figure | None:
    """Draw the size bias of each class, predicted over true area, on a log2 axis. Arguments as for ``iou_chart``."""
    powers = [{name: log_ratios(found) for name, found in one.items()} for one in settings]
    figure = _dots(names, powers, styles)
    if figure is not None:
        axes = figure.axes[0]
        reach = min(int(np.ceil(max(1.0, *(abs(limit) for limit in axes.get_xlim())))), LONGEST)
        axes.axvline(0, color="#444444", linewidth=1, zorder=0)
        axes.set_xlim(-1.08 * reach, 1.08 * reach)
        label_ratios(axes, reach)
    return figure


LETTERS = 13
"""Letters of a legend that fit an inch of a figure."""


def add_legend(figure: Figure, names: Sequence[str], styles: Sequence[Style]) -> None:
    """Add the names and styles of the settings below a figure. Names that are wider than it are wrapped."""
    lines = [
        Line2D([], [], color=style.colour, linestyle=style.line, marker=style.mark, markersize=4) for style in styles
    ]
    wrapped = [fill(name, int(LETTERS * figure.get_figwidth())) for name in names]
    figure.set_figheight(figure.get_figheight() + 0.18 * sum(name.count("\n") + 1 for name in wrapped))
    figure.legend(
        lines, [name.replace("$", r"\$") for name in wrapped], loc="outside lower left", fontsize=8, frameon=False
    )


def _dots(
    names: Sequence[str], settings: Sequence[Mapping[str, Sequence[float]]], styles: Sequence[Style]
) -> Figure | None:
    """Draw a row for each class: for each setting a dot at the mean, and a line from the lowest to the highest run."""
    if not any(settings):
        return None
    reach = 0.36 if len(settings) > 1 else 0.0
    figure, axes = _figure(4.6, (0.2 + 0.055 * len(settings)) * len(names) + 0.8)
    for values, style, shift in zip(settings, styles, np.linspace(-reach, reach, len(settings)), strict=True):
        for number, name in enumerate(names):
            if name in values:
                points = values[name]
                axes.plot(
                    [min(points), max(points)], [number + shift] * 2, color=style.colour, linewidth=1.2, alpha=0.6
                )
                axes.plot(np.mean(points), number + shift, style.mark, color=style.colour, markersize=4)
    for number in range(1, len(names)):
        axes.axhline(number - 0.5, color="#dddddd", linewidth=0.6, zorder=0)
    name_ticks(axes.yaxis, names, 8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    return figure


def _figure(width: float = 4.2, height: float = 2.8) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    return figure, axes
