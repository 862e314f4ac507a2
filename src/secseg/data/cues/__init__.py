"""Localization cues: the store, the official file, PNG folders."""

from secseg.data.cues.cue_files import find_cues, import_official, open_cues
from secseg.data.cues.store import Cues, CueStore

__all__ = ["CueStore", "Cues", "find_cues", "import_official", "open_cues"]
