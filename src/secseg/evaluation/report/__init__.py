"""Reports: compare finished runs in tables, figures and a page, with intervals that separate effects from noise."""
