"""Commands on a real Slurm cluster of one machine: make cluster."""
