"""From image-level labels to localization cues: classifiers that tell where, maps, cues, and their audit."""
