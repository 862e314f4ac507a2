"""Evaluation of predicted masks: metrics, tables, figures, files, reports."""

from __future__ import annotations

from secseg.evaluation.metrics import BoundaryScore, SegmentationScore
from secseg.evaluation.outputs import score_table, write_evaluation
from secseg.evaluation.scores import Evaluation, score_folder

__all__ = ["BoundaryScore", "Evaluation", "SegmentationScore", "score_folder", "score_table", "write_evaluation"]
