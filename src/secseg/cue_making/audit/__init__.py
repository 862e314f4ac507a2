"""Audits of cue files: figures, comparisons, tables, a page."""
