"""Models that other programs trained: read once, translated into a model file of our own, and never looked at again.

Nothing in such a folder is imported or evaluated: names are compared with those that are known, numbers are taken, and
what is not known is refused.
"""

from .importing import AtHand, import_foreign, models_at_hand

__all__ = ["AtHand", "import_foreign", "models_at_hand"]
