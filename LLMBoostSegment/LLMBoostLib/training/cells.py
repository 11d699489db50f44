"""What the panel's tables share: rows of texts and choices in a QTableWidget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt

from ..panels import plaintext

ROWS = 2, 6  # at least and at most, seen without scrolling
CHARACTERS = 5  # of a choice that are seen at least
NARROW = 64  # pixels of a column that gives its room to others: its tool tips tell the rest
PROBLEM_COLOR, NOTE_COLOR = "#d55e00", "#b07800"


class Table:
    """A QTableWidget that is filled again and again; the selected rows stay selected by their keys.

    Args:
        widget: the QTableWidget.
        headers: of the columns.
        stretched: the columns that take what room there is.
        narrow: a column whose texts may be long, and are told elsewhere, too.
        most: rows that are seen without scrolling.
        onSelection: is called when the user chooses other rows.
    """

    def __init__(
        self,
        widget: Any,
        headers: Sequence[str],
        *stretched: int,
        narrow: int | None = None,
        most: int = ROWS[1],
        onSelection: Callable[[], None] | None = None,
    ) -> None:
        self._widget, self._headers, self._most, self._onSelection = widget, list(headers), most, onSelection
        self._keys: list[str] = []
        self._held: list[Any] = []  # Python's side of the widgets in cells
        widget.setColumnCount(len(self._headers))
        widget.setHorizontalHeaderLabels(self._headers)
        widget.verticalHeader().setVisible(False)
        header = widget.horizontalHeader()
        for column in range(len(self._headers)):
            mode = qt.QHeaderView.Stretch if column in stretched else qt.QHeaderView.ResizeToContents
            header.setSectionResizeMode(column, qt.QHeaderView.Interactive if column == narrow else mode)
        if narrow is not None:
            header.resizeSection(narrow, NARROW)
        if onSelection:
            widget.connect("itemSelectionChanged()", onSelection)

    def fill(self, keys: Sequence[str], write: Callable[[int, str], None]) -> None:
        """Make a row for each key; ``write`` is called with each row's number and key."""
        selected = self.selected
        wasBlocked = self._widget.blockSignals(True)
        self._widget.clearContents()
        self._held.clear()
        self._keys = list(keys)
        self._widget.setRowCount(len(self._keys))
        for row, key in enumerate(self._keys):
            write(row, key)
        self.select(selected)
        self._widget.blockSignals(wasBlocked)
        header, rows = self._widget.horizontalHeader(), min(max(len(self._keys), ROWS[0]), self._most)
        height = header.sizeHint.height() + rows * self._widget.verticalHeader().defaultSectionSize
        self._widget.setFixedHeight(height + 2 * self._widget.frameWidth)

    def text(self, row: int, column: int, text: str, tip: str = "", color: str = "", bold: bool = False) -> None:
        """A text, which may be cut: its tool tip has all of it, and ``tip``."""
        item = qt.QTableWidgetItem(text)
        item.setToolTip(plaintext.tip(_whole(text, tip)))
        if color:
            item.setForeground(qt.QBrush(qt.QColor(color)))
        if bold:
            font = item.font()
            font.setBold(True)
            item.setFont(font)
        self._widget.setItem(row, column, item)

    def choice(
        self,
        row: int,
        column: int,
        texts: Sequence[str],
        current: int,
        onChosen: Callable[[int], None],
        tip: str = "",
        nothing: str = "",
        letters: int = CHARACTERS,
    ) -> None:
        """A combo box, whose tool tip has all of what is chosen, and ``tip``; -1: nothing is, and it says so."""
        box = qt.QComboBox()
        box.setSizeAdjustPolicy(qt.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        box.setMinimumContentsLength(letters)
        box.addItems(list(texts))
        box.setCurrentIndex(current)
        box.placeholderText = nothing
        box.setToolTip(plaintext.tip(_whole(texts[current] if current >= 0 else nothing, tip)))
        box.connect("activated(int)", onChosen)
        self._put(row, column, box)

    @property
    def selected(self) -> list[str]:
        """The keys of the selected rows."""
        model = self._widget.selectionModel()
        rows = sorted({index.row() for index in model.selectedRows()}) if model else []
        return [self._keys[row] for row in rows if row < len(self._keys)]

    def select(self, keys: Sequence[str]) -> None:
        """Select rows by their keys, as far as they are there."""
        self._widget.clearSelection()
        for row, key in enumerate(self._keys):
            if key in keys:
                whole = qt.QTableWidgetSelectionRange(row, 0, row, len(self._headers) - 1)
                self._widget.setRangeSelected(whole, True)

    def _put(self, row: int, column: int, widget: Any) -> None:
        self._held.append(widget)
        self._widget.setCellWidget(row, column, widget)


def _whole(text: str, tip: str) -> str:
    return "\n".join(part for part in (text, tip) if part)
