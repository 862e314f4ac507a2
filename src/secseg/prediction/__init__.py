"""Masks for photographs: which ones, what may be in them, where the masks go, and the run itself."""
