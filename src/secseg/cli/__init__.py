"""The commands: Hydra at the door, everything heavy imported inside."""
