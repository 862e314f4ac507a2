"""What is made of a cue file, ours or anyone's: an audit, and the same cues in other forms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from secseg.cue_making.audit import audit_cues
from secseg.cue_making.audit.compare import compare_cues
from secseg.cue_making.audit.write import audit
from secseg.data.classes import VOC_CLASSES, VOID
from secseg.data.cues.cue_files import open_cues
from secseg.data.cues.official import GRID
from secseg.data.cues.official_export import export_official
from secseg.data.cues.png import export_pngs
from secseg.data.splits import ImageSet

EXPORTS = ("official", "png")
OFFICIAL = "localization_cues.pickle.gz"


def audit_file(
    path: Path, images: ImageSet, folder: Path, against: str | None, scored: Sequence[str] | None
) -> dict[str, Any]:
    """Audit any cue file, against another one where it is named: as ``audit`` does."""
    other = None if against is None else open_cues(against)
    return audit(open_cues(path), images, folder, other, scored)


def audit_alone(path: Path, against: str | None) -> dict[str, Any]:
    """Return the figures of any cue file by itself, and against another one where it is named, over all its images.

    Its classes are those it names; a file that names none has VOC's, or numbers where it has more.
    """
    store = open_cues(path)
    most = int(store.labels[store.labels != VOID].max(initial=0))
    numbers = ("background", *(f"class {number}" for number in range(1, most + 1)))
    known = store.provenance.get("class_names", VOC_CLASSES)
    names = known if len(known) > most else numbers
    other = None if against is None else compare_cues(store, open_cues(against), None, names)
    return {**audit_cues(store, names), "against": other}


def export_file(path: Path, images: ImageSet, folder: Path, form: str) -> dict[str, Any]:
    """Write a cue file into ``folder`` in another form: ``official`` (the pickle, on 41 x 41) or ``png``.

    Returns:
        ``folder``; ``resized``: whether the maps were brought to another grid.
    """
    store = open_cues(path)
    if form == "png":
        export_pngs(store, folder, images.palette)
    else:
        export_official(store, folder / OFFICIAL, resize=True)
    return {"folder": str(folder), "resized": form == "official" and store.grid != GRID}
