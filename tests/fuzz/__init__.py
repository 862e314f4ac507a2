"""Fuzzing of the readers, led by coverage: ``make fuzz``."""
