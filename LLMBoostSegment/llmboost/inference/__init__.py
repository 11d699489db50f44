"""Using a model: from an image to segments or classes on its own grid."""
