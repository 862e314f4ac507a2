"""Fault injection in all commands: kills, damaged files and full disks."""
