"""Gather results.json of run folders into one results.csv: python experiments/collect.py <study> <run folder> ..."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path


def row(folder: Path) -> dict[str, object]:
    """One run: its loss, seed, figures (mean and per-class IoU in percent, without and with CRF) and times."""
    results = json.loads((folder / "results.json").read_text("utf-8"))
    protocol = results["protocol"]
    terms = [term for term, weight in protocol["loss"].items() if weight]
    values: dict[str, object] = {
        "loss": "+".join(terms),
        "masks": Path(protocol["training_masks"] or "none").name,  # that it was trained on
        "seed": protocol["seed"],
        "steps": protocol["steps"],
        "val_images": protocol["val_images"],
        "step_seconds": round(results["time"]["step_seconds"], 3),
        "crf_share": round(results["time"]["crf_share"], 2),
    }
    for kind in ("without_crf", "with_crf"):
        figures = results["figures"][kind]
        if figures is not None:
            values[f"miou_{kind}"] = percent(figures["miou"])
            values |= {f"{name}_{kind}": percent(figures["iou"][name]) for name in protocol["scored"]}
    return values


def percent(value: float | None) -> float | None:
    return None if value is None else round(100 * value, 1)


def main() -> None:
    study, *folders = (Path(argument) for argument in sys.argv[1:])
    rows = [row(folder) for folder in folders]
    with (study / "results.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for entry in rows for key in entry)))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
