"""What LLMBoost Segment offers to scripts, and what its panel remembers."""
