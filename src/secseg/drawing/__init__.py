"""Everything that draws: overlays, panels, charts, HTML pages."""
