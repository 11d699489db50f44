"""What was learned from cases on this computer: from how many, on what base or none, and how it did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import qt
import slicer
from slicer.i18n import tr as _

from llmboost import library
from llmboost.card import Card, read_card
from llmboost.errors import LLMBoostError

from ..panels.errordisplay import errorsShown
from ..panels.modelentries import entries, importModel
from ..panels.plaintext import confirmed
from .cells import PROBLEM_COLOR, Table
from .figures import change


class Widgets(Protocol):
    adapterTable: qt.QTableWidget
    useButton: qt.QPushButton
    compareButton: qt.QPushButton
    exportButton: qt.QPushButton
    importAdapterButton: qt.QPushButton
    removeAdapterButton: qt.QPushButton


class AdaptersView:
    """The section Your models: adapters of the library, and networks of their own, which need no base.

    Args:
        onChanged: is called when adapters came or went.
        onUse: is called with the name of a model to segment with.
        onCompare: is called with a base and an adapter to compare.
    """

    def __init__(
        self,
        ui: Widgets,
        onChanged: Callable[[], None],
        onUse: Callable[[str], None],
        onCompare: Callable[[str, str], None],
    ) -> None:
        self._ui, self._onChanged, self._onUse, self._onCompare = ui, onChanged, onUse, onCompare
        headers = [_("Name"), _("Base"), _("Cases"), _("Dice"), _("MB")]
        self._table = Table(ui.adapterTable, headers, 0, 1, onSelection=self.update)
        self._known: dict[str, tuple[int, Card]] = {}  # with the size of its file
        ui.useButton.connect("clicked()", self._use)
        ui.compareButton.connect("clicked()", self._compare)
        ui.exportButton.connect("clicked()", self._export)
        ui.importAdapterButton.connect("clicked()", self._import)
        ui.removeAdapterButton.connect("clicked()", self._remove)
        self._busy = False

    def refresh(self) -> None:
        """Look into the library again."""
        found = [(entry.name, entry.size, entry.card) for entry in entries() if entry.card]
        self._known = {name: (size, card) for name, size, card in found if card.learned_from is not None}
        self._table.fill(list(self._known), self._write)
        self.update()

    def setBusy(self, busy: bool) -> None:
        """While something is computed, nothing else can be, and what it uses stays."""
        self._busy = busy
        self.update()

    def update(self) -> None:
        """Only what can be done can be clicked."""
        ui, one = self._ui, bool(self._table.selected)
        ui.useButton.enabled = ui.exportButton.enabled = one
        ui.removeAdapterButton.enabled = one and not self._busy
        ui.compareButton.enabled = one and not self._busy and bool(self._known[self._table.selected[0]][1].adapter)

    def _write(self, row: int, name: str) -> None:
        size, card = self._known[name]
        base = card.adapter.base if card.adapter else ""
        isThere = not base or base in library.installed()
        self._table.text(row, 0, name, card.description)
        self._table.text(row, 1, base or _("none"), "" if isThere else _("not here"), "" if isThere else PROBLEM_COLOR)
        self._table.text(row, 2, str(card.learned_from), _("to learn from"))
        tip = _("before → after, of the cases that were kept for checking")
        self._table.text(row, 3, change(card.figures.get("before"), card.figures.get("after")), tip)
        self._table.text(row, 4, f"{size / 1e6:.1f}")

    def _use(self) -> None:
        self._onUse(self._table.selected[0])

    def _compare(self) -> None:
        name = self._table.selected[0]
        if adapter := self._known[name][1].adapter:
            self._onCompare(adapter.base, name)

    def _export(self) -> None:
        name = self._table.selected[0]
        with errorsShown():
            text = _("Export {name} to a folder").format(name=name)
            folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), text)
            if folder:
                library.export_model(name, Path(folder))

    def _import(self) -> None:
        with errorsShown():
            title, kinds = _("Import a model"), _("LLMBoost models") + f" (*{library.EXTENSION})"
            path = qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), title, "", kinds)
            if not path:
                return
            if importAdapter(Path(path)) is not None:
                self.refresh()
                self._onChanged()

    def _remove(self) -> None:
        name = self._table.selected[0]
        question = _("Delete the model '{name}' from this computer?").format(name=name)
        if not confirmed(question):
            return
        with errorsShown():
            library.remove_model(name)
            self.refresh()
            self._onChanged()


def importAdapter(path: Path) -> Card | None:
    """Add a model's file to the library, see :func:`..panels.modelentries.importModel`.

    Raises:
        LLMBoostError: an adapter's base is not here.
    """
    adapter = read_card(path).adapter
    if adapter and adapter.base_digest not in {entry.card.digest for entry in entries() if entry.card}:
        text = _("{path}: needs the base model {base} {version}; import that first")
        raise LLMBoostError(text.format(path=path, base=adapter.base, version=adapter.base_version))
    return importModel(path)
