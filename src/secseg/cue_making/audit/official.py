"""What was measured on the official cue file: the yardstick for anyone's own cues."""

from __future__ import annotations

from typing import Any

SOURCE = "measured on the official file, all 10,582 images"
OFFICIAL: dict[str, Any] = {
    "images": 10_582,
    "grid": [41, 41],
    "overlaps": 0,
    "images_without": {"background": 0, "foreground": 0},
    "labels": {"total": 15_471, "without_cue": 0},
    "background_locations": {"most": 168, "median": 167, "least": 50},
    "coverage": {"background": 0.098, "foreground": 0.142, "unlabelled": 0.760},
    "images_by_classes": {"1": 6804, "2": 2857, "3": 758, "4": 136, "5": 27},
}
"""In the form of :func:`~secseg.cue_making.audit.audit_cues`."""

QUALITY_SOURCE = "measured on the official file, 1,538 images that show animals"
OFFICIAL_QUALITY: dict[str, dict[str, float | None]] = {
    "background": {"precision": 0.94, "recall": None},
    "cat": {"precision": 0.93, "recall": 0.27},
    "cow": {"precision": 0.85, "recall": 0.31},
    "dog": {"precision": 0.90, "recall": 0.23},
    "horse": {"precision": 0.78, "recall": 0.35},
    "person": {"precision": 0.68, "recall": 0.33},
    "sheep": {"precision": 0.86, "recall": 0.41},
}
"""Precision and recall of the official cues by class, for the classes that are not rare in those images."""
