"""Maps of where a network looked: what can be asked, the methods on token grids, and how good a map is."""

from .maps import LAYERS, METHODS
from .spec import Explanation, ExplanationSpec

__all__ = ["LAYERS", "METHODS", "Explanation", "ExplanationSpec"]
