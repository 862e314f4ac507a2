"""From image-level labels to localization cues: how they are made, and how good they are."""
