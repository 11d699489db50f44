"""Training classifiers: labeled images, batches and their variations, the trainer, from a data set to a model file."""
