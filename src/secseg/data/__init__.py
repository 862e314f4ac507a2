"""The data, in the order in which training reads it: splits, images, labels, cues, samples, batches."""
