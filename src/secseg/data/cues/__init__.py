"""Localization cues: our file, the official one, PNG folders."""

from secseg.data.cues.files import find_cues, open_cues
from secseg.data.cues.official import import_official
from secseg.data.cues.store import Cues, CueStore

__all__ = ["CueStore", "Cues", "find_cues", "import_official", "open_cues"]
