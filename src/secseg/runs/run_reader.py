"""Read the files of a run folder. The folder may come from someone else, so every value is validated."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from secseg.utils.checks import is_number
from secseg.utils.errors import UserError, listing
from secseg.utils.files import read_json

MOST_BYTES = 2**20
"""Limit for a config; a run writes about 4,000 bytes."""
MOST_BRACKETS = 1_000
"""Limit for a config; a run writes about ten. PyYAML's time is quadratic in them."""
MOST_VALUES, DEEPEST = 100_000, 50
"""Limits for a config with all its references expanded; nested references can expand without limit."""


class _Loader(yaml.SafeLoader):
    """Loader without merge keys (``<<``), which can expand without limit."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        pass


def read_config(path: Path) -> dict[str, Any]:
    """Return the settings of a run's ``config.yaml``, plain and nested.

    Interpolations are not resolved: ``${oc.env:HOME}`` stays this text, so a page cannot show environment variables.

    Raises:
        UserError: if the file cannot be read, is not YAML of plain values, or is beyond the limits.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
        text = path.read_text("utf-8")
        if text.count("[") + text.count("{") > MOST_BRACKETS:
            raise ValueError(f"it has more than {MOST_BRACKETS:,} brackets")
        config = yaml.load(text, _Loader)
        if not isinstance(config, dict) or not all(isinstance(key, str) for key in config):
            raise ValueError("it does not contain settings with names")
        for count, _ in enumerate(_values(config, 0)):
            if count > MOST_VALUES:
                raise ValueError(f"it has more than {MOST_VALUES:,} values")
        json.dumps(config, ensure_ascii=False, default=str).encode()  # fails for half characters
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, yaml.YAMLError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} cannot be read ({reason}): fix it, or leave its run out.") from error
    return config


def _values(value: Any, depth: int) -> Iterator[Any]:
    if depth > DEEPEST:
        raise ValueError(f"it is nested more than {DEEPEST} levels deep")
    yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list | set | tuple) else ():
        yield from _values(part, depth + 1)


def read_training_results(path: Path) -> dict[str, Any] | None:
    """Return the ``results.json`` of a training; None if the file is that of another command.

    Raises:
        UserError: if the file cannot be read, or with all values that are missing or have a wrong type.
    """
    try:
        results = read_json(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): remove it, or leave its run out.") from error
    if not isinstance(results, dict) or not {"figures", "losses", "protocol"} <= results.keys():
        return None
    if problems := list(_problems(results)):
        raise UserError(f"{path} is not a training's results:\n{listing(problems)}\nFix it, or move it away.")
    return results


def _problems(results: Mapping[str, Any]) -> Iterator[str]:
    figures, protocol = results["figures"], results["protocol"]
    if not isinstance(figures, dict) or "without_crf" not in figures:
        yield "figures: without_crf is missing"
        figures = {}
    for variant, score in figures.items():
        if score is None:
            continue
        if not isinstance(score, dict) or not isinstance(score.get("iou"), dict):
            yield f"figures.{variant}: iou, by class, is missing"
            continue
        shares = {key: score.get(key, "nothing") for key in ("miou", "pixel_accuracy")} | score["iou"]
        yield from (f"figures.{variant}, {key}: {value!r:.80}" for key, value in shares.items() if not _is_share(value))
    scored = protocol.get("scored") if isinstance(protocol, dict) else None
    if not isinstance(scored, list) or not scored or not all(isinstance(name, str) for name in scored):
        yield "protocol.scored: it is not a list of class names"
    yield from (f"protocol.{key} is missing" for key in ("val_split", "val_images") if key not in (protocol or ()))
    if not _is_texts(results.get("warnings", [])):
        yield "warnings: it is not a list of texts"
    times = results.get("time")
    if not isinstance(times, dict) or not all(value is None or is_number(value) for value in times.values()):
        yield "time: not all values are numbers"
    versions = results.get("versions") or {}
    if not isinstance(versions, dict) or not isinstance(versions.get("packages", {}), dict):
        yield "versions: packages is not a mapping"
        versions = {}
    git = versions.get("git")
    if git and not (isinstance(git, dict) and isinstance(git.get("commit"), str) and "dirty" in git):
        yield "versions.git: commit or dirty is missing"


def read_warnings(path: Path) -> list[str]:
    """Return the warnings in a ``results.json``; none if it cannot be read."""
    try:
        warnings = dict(read_json(path)).get("warnings", [])
    except (OSError, ValueError, TypeError):
        return []
    return warnings if _is_texts(warnings) else []


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _is_share(value: Any) -> bool:
    return value is None or (is_number(value) and 0 <= value <= 1)


def read_metrics(path: Path) -> list[dict[str, str]]:
    """Return the rows of a ``metrics.csv``, without empty cells. Every cell is a number.

    Raises:
        UserError: if the file cannot be read, or a cell is not a number.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, restkey="no title", strict=True)
            rows = [{key: cell for key, cell in row.items() if cell} for row in reader]
        for row in rows:
            for key, cell in row.items():
                number = float(cell)
                if key in ("step", "epoch") and (int(cell) != number or number < 0):
                    raise ValueError(f"{key} {cell:.80}")
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise UserError(
            f"{path} is damaged: it is not a table of numbers ({error}). Remove it; the curves so far are lost."
        ) from error
    return rows


def curve(rows: Sequence[Mapping[str, str]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and values of a column of ``metrics.csv``, such as ``train/seed`` or ``val/miou``."""
    pairs = [(float(row["step"]), float(row[key])) for row in rows if key in row and "step" in row]
    steps, values = np.array(pairs).reshape(-1, 2).T
    return steps, values
