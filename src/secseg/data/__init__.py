"""Reading data: VOC and the built-in shapes, cues, samples, batches."""
