"""A campaign of faults: kills, damaged files and full disks, in all commands."""
