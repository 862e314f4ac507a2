"""From image-level labels to localization cues: classifier, maps, cues, audit."""
