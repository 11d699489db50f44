"""The Slicer side that LLMBoost's modules share. It never imports torch: what needs torch, the worker does."""
