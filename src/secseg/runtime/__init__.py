"""What surrounds a run: its folder, its records, its loggers and its checkpoints."""

from secseg.runtime.checkpoints import CheckpointFiles, Checkpoints, RandomStates
from secseg.runtime.folder import RunFolder, open_run_folder
from secseg.runtime.loggers import build_loggers, finish_loggers
from secseg.runtime.records import save_config, versions, write_results, write_versions

__all__ = [
    "CheckpointFiles",
    "Checkpoints",
    "RandomStates",
    "RunFolder",
    "build_loggers",
    "finish_loggers",
    "open_run_folder",
    "save_config",
    "versions",
    "write_results",
    "write_versions",
]
