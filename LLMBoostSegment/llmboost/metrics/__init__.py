"""Measures of segmentations and classifications against what is known."""
