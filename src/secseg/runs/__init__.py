"""What surrounds a run: its folder, its files, its loggers."""
