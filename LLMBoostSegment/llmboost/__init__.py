"""LLMBoost's engine: boosted networks for medical images. Importing it imports nothing heavy."""

__version__ = "0.2.0"
