"""The figures of an evaluation, and how they are shown: tables, pictures, files."""

from __future__ import annotations

from secseg.evaluation.boundary import BoundaryScore
from secseg.evaluation.masks import score_folder
from secseg.evaluation.scores import Evaluation
from secseg.evaluation.tables import score_table
from secseg.evaluation.to_files import write_evaluation

__all__ = ["BoundaryScore", "Evaluation", "score_folder", "score_table", "write_evaluation"]
