"""From image-level labels to localization cues: classifier, maps, recipes, audit."""
