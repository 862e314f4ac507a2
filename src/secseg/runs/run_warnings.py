"""The warnings of several runs, each text once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from secseg.utils.text import count

MOST = 20
"""Most texts that are listed."""


def grouped_warnings(warnings: Mapping[str, Sequence[str]]) -> list[str]:
    """Return each text with the runs that have it, the one of the most runs first.

    Args:
        warnings: the texts of each run, by its name.
    """
    runs: dict[str, list[str]] = {}
    for name, texts in warnings.items():
        for text in dict.fromkeys(texts):
            runs.setdefault(text, []).append(name)
    order = sorted(runs, key=lambda text: -len(runs[text]))
    lines = [f"{_which(runs[text], len(warnings))}: {text}" for text in order[:MOST]]
    return lines + (
        [f"The results.json files hold {count(len(order) - MOST, 'more warning')}."] if order[MOST:] else []
    )


def _which(names: Sequence[str], total: int) -> str:
    if len(names) == total > 1:
        return f"All {total} runs"
    return "; ".join(names[:3]) + (f"; and {len(names) - 3} more" if names[3:] else "")
