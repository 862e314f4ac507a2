"""Audits of cue files: figures, comparisons, tables, pages."""

from __future__ import annotations

from typing import Any

from secseg.cue_making.audit.compare import compare_cues
from secseg.cue_making.audit.measure import CueCounts, audit_cues, count_cues, summarize
from secseg.cue_making.audit.page import audit_file
from secseg.cue_making.audit.tables import audit_table, comparison_table
from secseg.data.classes import VOC_CLASSES, VOID
from secseg.data.cues.cue_files import CueStore

__all__ = [
    "CueCounts",
    "audit_cues",
    "audit_file",
    "audit_table",
    "audit_without_images",
    "compare_cues",
    "comparison_table",
    "count_cues",
    "summarize",
]


def audit_without_images(store: CueStore, against: CueStore | None = None) -> dict[str, Any]:
    """Return the figures of all cues of a file, and compared with those of another one, without images and masks.

    The classes are those that the file names. A file that does not name any has VOC's classes, or numbers if it has
    more.
    """
    most = int(store.labels[store.labels != VOID].max(initial=0))
    numbers = ("background", *(f"class {number}" for number in range(1, most + 1)))
    known = store.provenance.get("class_names", VOC_CLASSES)
    names = known if len(known) > most else numbers
    return {
        **audit_cues(store, names),
        "against": None if against is None else compare_cues(store, against, None, names),
    }
