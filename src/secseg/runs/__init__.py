"""Runs: the run folder, its files, and the loggers."""
