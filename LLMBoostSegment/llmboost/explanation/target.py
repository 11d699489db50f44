"""What is to be explained."""

from __future__ import annotations

from collections.abc import Sequence

from ..card import Card, Label
from ..errors import LLMBoostError


def find_target(card: Card, labels: Sequence[Label], value: int) -> tuple[Label, int]:
    """The label or class with that value, and its number among ``labels``, from 0.

    Raises:
        LLMBoostError: there is none.
    """
    for number, label in enumerate(labels):
        if label.value == value:
            return label, number
    known = ", ".join(f"{label.value} ({label.name})" for label in labels)
    raise LLMBoostError(f"model '{card.name}' has nothing of value {value} to explain; choose one of {known}")
