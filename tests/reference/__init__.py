"""Plain NumPy versions of the formulas, written from the paper: slow, obvious, and independent of the package."""
