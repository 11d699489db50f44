"""Segmenting by strokes: a user paints a little, and gets the whole."""
