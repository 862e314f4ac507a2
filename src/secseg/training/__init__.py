"""Training: the run, the module, optimizers, checkpoints, callbacks and the feature cache."""
