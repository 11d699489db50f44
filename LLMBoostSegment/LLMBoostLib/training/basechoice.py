"""The choice of the base model, and the name of what is made of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import qt

from llmboost.card import SEGMENTATION, Card

from ..panels.modelentries import entries
from .candidate import freeName


class Widgets(Protocol):
    baseBox: qt.QComboBox
    nameEdit: qt.QLineEdit


class BaseChoice:
    """Models that segment single images, and are neither adapters nor ensembles, which cannot be adapted.

    Args:
        onBase: is called with the name of the model that the user chose.
        onName: is called when the name of the new model was changed.
    """

    def __init__(self, ui: Widgets, onBase: Callable[[str], None], onName: Callable[[str], None]) -> None:
        self._ui, self._onBase = ui, onBase
        self._cards: dict[str, Card] = {}
        self._proposed = ""
        ui.baseBox.connect("activated(int)", lambda index: self._onBase(list(self._cards)[index]))
        ui.nameEdit.connect("textChanged(QString)", onName)

    def fill(self, chosen: str) -> None:
        """Look into the library again."""
        self._cards = {entry.name: entry.card for entry in entries() if entry.card and canBeBase(entry.card)}
        box = self._ui.baseBox
        wasBlocked = box.blockSignals(True)
        box.clear()
        box.addItems([f"{card.title} · {card.modality}" for card in self._cards.values()])
        box.setCurrentIndex(list(self._cards).index(chosen) if chosen in self._cards else -1)
        box.blockSignals(wasBlocked)

    def card(self, name: str) -> Card | None:
        """Of one of these models."""
        return self._cards.get(name)

    def proposeName(self, origin: str) -> None:
        """A free name after what the model is made of, or for, as long as the user has not written one."""
        edit = self._ui.nameEdit
        if edit.text in ("", self._proposed):
            self._proposed = freeName(origin)
            wasBlocked = edit.blockSignals(True)
            edit.text = self._proposed
            edit.blockSignals(wasBlocked)


def canBeBase(card: Card) -> bool:
    """Whether a model can learn: it segments single images, and is neither an adapter nor an ensemble."""
    segments = card.task == SEGMENTATION and card.preprocessing.channels == 1
    return segments and card.adapter is None and card.adaptable
