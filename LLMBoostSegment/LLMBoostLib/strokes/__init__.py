"""Segmenting by strokes: an effect of the Segment Editor, which the worker answers while the user paints on."""
