"""Studies of several series: which series suits a model, by what headers, names and the model's card say.

Both halves choose with it: the engine of files, LLMBoost Segment of volumes in the scene. Standard library and numpy
alone.
"""

from .rule import Rule, parse_rule
from .selection import ALL, AUTO, Choice, Selection
from .series import SeriesFacts, along_ras
from .suitability import Wanted

__all__ = ["ALL", "AUTO", "Choice", "Rule", "Selection", "SeriesFacts", "Wanted", "along_ras", "parse_rule"]
