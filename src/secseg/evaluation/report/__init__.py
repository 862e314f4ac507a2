"""From finished runs to a table, a CSV file and a page: what was swept, what it changed, and what is noise."""
