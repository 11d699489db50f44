"""Who made a result, as it is written into the result's file or node."""

from __future__ import annotations

from . import __version__
from .card import Card

NOTICE = "Not for clinical use"


FAST = {"LLMBoost.Fast": "with a larger step from patch to patch"}


def provenance(card: Card, localizer: Card | None = None, drawn_by: Card | None = None) -> dict[str, str]:
    """Entries of a file's header: the model that made it, ``localizer``, the one that told where to look, and
    ``drawn_by``, the one that drew in its place."""
    others = {}
    if localizer is not None:
        others = {"LLMBoost.Localizer": localizer.name, "LLMBoost.LocalizerDigest": localizer.digest}
    if drawn_by is not None:
        others |= {"LLMBoost.DrawnBy": drawn_by.name, "LLMBoost.DrawnByDigest": drawn_by.digest}
    return {
        "LLMBoost.Model": card.name,
        "LLMBoost.ModelVersion": card.version,
        "LLMBoost.ModelDigest": card.digest,
        **others,
        "LLMBoost.Version": __version__,
        "LLMBoost.Notice": NOTICE,
    }
