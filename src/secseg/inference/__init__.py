"""Prediction: from images to masks at their own size, with and without CRF."""
