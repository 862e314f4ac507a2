"""The training loop: run, module, optimizers, monitor, checkpoints, signals, feature cache, callbacks."""
