"""Audits of cue files: figures, comparisons, tables, a page."""

from secseg.cue_making.audit.compare import compare_cues
from secseg.cue_making.audit.measure import CueCounts, count_cues, summarize
from secseg.cue_making.audit.page import audit_file
from secseg.cue_making.audit.tables import audit_table, comparison_table

__all__ = [
    "CueCounts",
    "audit_file",
    "audit_table",
    "compare_cues",
    "comparison_table",
    "count_cues",
    "summarize",
]
