"""How good cues are: measured, set beside the official file's, shown."""

from __future__ import annotations

from secseg.cue_making.audit.audit_tables import audit_table
from secseg.cue_making.audit.counts import CueCounts, count_cues
from secseg.cue_making.audit.summary import audit_cues, summarize

__all__ = ["CueCounts", "audit_cues", "audit_table", "count_cues", "summarize"]
