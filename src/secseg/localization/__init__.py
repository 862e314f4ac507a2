"""From image-level labels to localization cues: classifiers, their maps, cues made of them, and how good cues are."""
