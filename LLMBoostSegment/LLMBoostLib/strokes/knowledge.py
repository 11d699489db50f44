"""Which installed models know what is painted, by the segments' names and SNOMED codes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from llmboost import library
from llmboost.card import SEGMENTATION, Card, codes_of, label_of, normalized, read_card
from llmboost.errors import LLMBoostError
from llmboost.io.labels import BACKGROUND as BACKGROUND_NAME
from llmboost.messages.strokes import BACKGROUND

from ..training.cases import Kind

AUTOMATIC, WALKER = "/automatic", "/walker"  # what may be chosen besides a model's name, which holds no slash


def isBackground(kind: Kind) -> bool:
    """Whether strokes of this segment say what belongs to no segment."""
    return normalized(kind.name) == BACKGROUND_NAME


def known(card: Card, kinds: Sequence[Kind]) -> dict[Kind, int]:
    """The values of the model's labels that segments are, by name or code without a doubt."""
    labels = [label for label in card.labels if label.value != BACKGROUND]
    found = {kind: label_of(kind.name, codes_of(kind.terminology), labels) for kind in kinds}
    return {kind: label.value for kind, label in found.items() if label and not isBackground(kind)}


def whoKnow(kinds: Sequence[Kind]) -> list[Card]:
    """Models that know all segments but background: the user's own first, of these the latest, then those that draw
    the least besides."""
    wanted = {kind for kind in kinds if not isBackground(kind)}
    found = []
    for path in library.installed().values() if wanted else ():
        with suppress(LLMBoostError, OSError):  # damaged, or removed in between
            card = read_card(path)
            if _suits(card) and known(card, list(wanted)).keys() == wanted:
                found.append((_rank(path, card), card))
    return [card for _rank, card in sorted(found, key=lambda each: each[0])]


def valuesOf(card: Card | None, kinds: Sequence[Kind]) -> list[int]:
    """The value of each segment's strokes: of the model's label, if it knows the segment, and else one of its own."""
    own = known(card, kinds) if card else {}
    taken = {label.value for label in card.labels} if card else set()
    free = (value for value in range(1, BACKGROUND) if value not in taken)
    return [BACKGROUND if isBackground(kind) else own.get(kind) or next(free) for kind in kinds]


def _suits(card: Card) -> bool:
    return card.task == SEGMENTATION and card.preprocessing.channels == 1 and card.adaptable


def _rank(path: Path, card: Card) -> tuple[bool, float, int]:
    isOwn = path.parent == library.user_folder()
    return not isOwn, -path.stat().st_mtime if isOwn else 0.0, len(card.labels)
