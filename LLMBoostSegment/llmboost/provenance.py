"""Who made a result, as it is written into the result's file or node."""

from __future__ import annotations

from . import __version__
from .card import Card

NOTICE = "Not for clinical use"


FAST = {"LLMBoost.Fast": "with a larger step from patch to patch"}


def provenance(card: Card, localizer: Card | None = None) -> dict[str, str]:
    """Entries of a file's header: the model that made it, and ``localizer``, the one that told where to look."""
    first = {}
    if localizer is not None:
        first = {"LLMBoost.Localizer": localizer.name, "LLMBoost.LocalizerDigest": localizer.digest}
    return {
        "LLMBoost.Model": card.name,
        "LLMBoost.ModelVersion": card.version,
        "LLMBoost.ModelDigest": card.digest,
        **first,
        "LLMBoost.Version": __version__,
        "LLMBoost.Notice": NOTICE,
    }
