"""The list of models with its search line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmboost.card import Card

from .modelentries import Entry, entries
from .plaintext import tip

ROWS = 2, 6  # at least and at most, of the list
ROW_HEIGHT = 16  # pixels, at least


class ModelChooser:
    """Fills and watches a QListWidget and the QLineEdit that narrows it.

    Args:
        onChosen: is called with the name when the user chooses another model.
    """

    def __init__(self, searchEdit: Any, listWidget: Any, onChosen: Callable[[str], None]) -> None:
        self._search, self._list, self._onChosen = searchEdit, listWidget, onChosen
        self._entries: list[Entry] = []
        self._shown: list[Entry] = []
        self.current: Entry | None = None
        searchEdit.connect("textChanged(QString)", self._fill)
        listWidget.connect("currentRowChanged(int)", self._onRow)
        self.refresh()

    def refresh(self) -> None:
        """Look into the library again; the chosen model stays chosen if it is still there."""
        self._entries = entries()
        self.choose(self.current.name if self.current else "")

    def choose(self, name: str) -> None:
        """Choose a model by its name, which need not be in the list: then none is chosen."""
        self.current = next((entry for entry in self._entries if entry.name == name), None)
        if self.current is not None and not self.current.matches(self.words):
            self._search.clear()
        self._fill()

    def card(self, name: str) -> Card | None:
        """Of a model by its name, if it is there."""
        return next((entry.card for entry in self._entries if entry.name == name), None)

    @property
    def words(self) -> list[str]:
        """That the list is narrowed by, in small letters."""
        return self._search.text.lower().split()

    def _fill(self, _text: str = "") -> None:
        wasBlocked = self._list.blockSignals(True)
        self._shown = [entry for entry in self._entries if entry.matches(self.words)]
        self._list.clear()
        for entry in self._shown:
            self._list.addItem(f"{entry.title} · {entry.card.modality}" if entry.card else entry.title)
            self._list.item(self._list.count - 1).setToolTip(
                tip(entry.card.description if entry.card else entry.problem)
            )
        rows = min(max(len(self._shown), ROWS[0]), ROWS[1])
        self._list.setFixedHeight(rows * max(self._list.sizeHintForRow(0), ROW_HEIGHT) + 2 * self._list.frameWidth)
        self._list.setCurrentRow(self._shown.index(self.current) if self.current in self._shown else -1)
        self._list.blockSignals(wasBlocked)

    def _onRow(self, row: int) -> None:
        if 0 <= row < len(self._shown):
            self.current = self._shown[row]
            self._onChosen(self.current.name)
