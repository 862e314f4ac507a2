"""Image in, mask out: predictor, sources, outputs, the VOC server's archive."""
