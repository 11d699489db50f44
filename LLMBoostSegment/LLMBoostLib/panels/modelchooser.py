"""The list of models by parts of the body, with its search line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt

from llmboost.card import Card
from llmboost.card.bodyparts import part_of

from .bodyparts import titles
from .modelentries import Entry, entries
from .plaintext import tip

ROWS = 3, 8  # at least and at most, of the list
ROW_HEIGHT = 16  # pixels, at least


class ModelChooser:
    """Fills and watches a QListWidget and the QLineEdit that narrows it.

    Args:
        onChosen: is called with the name when the user chooses another model.
    """

    def __init__(self, searchEdit: Any, listWidget: Any, onChosen: Callable[[str], None]) -> None:
        self._search, self._list, self._onChosen = searchEdit, listWidget, onChosen
        self._entries: list[Entry] = []
        self._rows: list[Entry | None] = []  # None: the name of a part of the body
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
        self._rows.clear()
        self._list.clear()
        found: dict[int, list[Entry]] = {}
        for entry in self._entries:
            if entry.matches(self.words):
                found.setdefault(part_of(entry.card), []).append(entry)
        for part, title in enumerate(titles()):
            if part in found:
                self._addPart(title, found[part])
        rows = min(max(len(self._rows), ROWS[0]), ROWS[1])
        self._list.setFixedHeight(rows * max(self._list.sizeHintForRow(0), ROW_HEIGHT) + 2 * self._list.frameWidth)
        self._list.setCurrentRow(self._rows.index(self.current) if self.current in self._rows else -1)
        self._list.blockSignals(wasBlocked)

    def _addPart(self, title: str, entries: Sequence[Entry]) -> None:
        """The name of a part of the body, which cannot be chosen, and its models."""
        header = qt.QListWidgetItem(title)
        header.setFlags(qt.Qt.NoItemFlags)
        font = header.font()
        font.setBold(True)
        header.setFont(font)
        self._add(header, None)
        for entry in entries:
            text = f"{entry.title} · {entry.card.modality}" if entry.card else entry.title
            item = qt.QListWidgetItem(text)
            item.setToolTip(tip(entry.card.description if entry.card else entry.problem))
            self._add(item, entry)

    def _add(self, item: Any, entry: Entry | None) -> None:
        self._list.addItem(item)
        self._rows.append(entry)

    def _onRow(self, row: int) -> None:
        entry = self._rows[row] if 0 <= row < len(self._rows) else None
        if entry is not None:
            self.current = entry
            self._onChosen(entry.name)
