"""What surrounds a run: its folder, its records, its loggers and its checkpoints."""
