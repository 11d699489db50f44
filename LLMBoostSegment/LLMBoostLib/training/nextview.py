"""The section Label next: unlabeled cases in the order in which they would teach the model most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import qt
from slicer.i18n import tr as _

from llmboost.messages.cases import RankedCase

from ..panels.plural import counted
from .cases import UNLABELED
from .casestore import CaseStore
from .casesview import title
from .cells import Table
from .figures import shown


class Widgets(Protocol):
    nextTable: qt.QTableWidget
    nextLabel: qt.QLabel


class NextView:
    """The table; an order stays until cases come or go."""

    def __init__(self, ui: Widgets, onSelection: Callable[[], None]) -> None:
        self._ui = ui
        self._table = Table(ui.nextTable, [_("Case"), _("Uncertainty"), _("Diversity")], 0, onSelection=onSelection)
        self._order: dict[str, RankedCase] = {}

    @property
    def selected(self) -> str:
        """The id of the chosen case; empty: none is."""
        return next(iter(self._table.selected), "")

    def rank(self, order: Sequence[RankedCase]) -> None:
        """Take the answer of the request ``rank_cases``."""
        self._order = {one.id: one for one in order}

    def show(self, store: CaseStore | None) -> None:
        cases = store.cases.values() if store else ()
        waiting = {case.id: case for case in cases if case.role == UNLABELED}
        ranked = [id for id in self._order if id in waiting]

        def write(row: int, id: str) -> None:
            self._table.text(row, 0, title(waiting[id]), id)
            one = self._order.get(id)
            for column, figure in enumerate((one.uncertainty, one.diversity) if one else (None, None), start=1):
                self._table.text(row, column, shown(figure))

        self._table.fill([*ranked, *(id for id in waiting if id not in ranked)], write)
        if not waiting:
            text = _("No unlabeled cases: add images without a segmentation, and the model tells which to label first.")
        elif ranked:
            text = _("The first would teach the model most.")
        else:
            text = counted(
                len(waiting), _("One unlabeled case, not ranked yet."), _("{count} unlabeled cases, not ranked yet.")
            )
        self._ui.nextLabel.text = text
        self._ui.nextTable.visible = bool(waiting)
