"""From image-level labels to localization cues: classifiers, their maps, and cues made of them."""
