"""Drawing: overlays, panels, charts, HTML pages, and what W&B shows."""
