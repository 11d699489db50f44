"""Images and data sets on disk: reading them whole or not at all, writing results."""
