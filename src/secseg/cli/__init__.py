"""The commands, one file each: they read the command line with Hydra and call the package that does the work."""
