"""How good cues are: measured, set beside the official file's, shown."""

from __future__ import annotations

from secseg.localization.audit.counts import CueCounts, count_cues
from secseg.localization.audit.summary import audit_cues, summarize
from secseg.localization.audit.tables import audit_table

__all__ = ["CueCounts", "audit_cues", "audit_table", "count_cues", "summarize"]
