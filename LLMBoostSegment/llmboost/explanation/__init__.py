"""Maps of where a network looked: for a classifier's class, or for a segment that a segmenter drew."""

from .case import Explanation, explain
from .maps import LAYERS, METHODS

__all__ = ["LAYERS", "METHODS", "Explanation", "explain"]
