"""Layers and network copies that are faster on a CPU."""
