"""The decision about what a training gave."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import qt
from slicer.i18n import tr as _

from llmboost.card.figures import ADVICE
from llmboost.errors import LLMBoostError

from ..panels.errordisplay import WARNING_STYLE, capitalized, errorsShown
from ..panels.plaintext import confirmed
from . import candidateview
from .candidate import AdapterCandidate
from .candidateview import CandidateView
from .logic import LLMBoostTrainLogic
from .snapshot import openCase

if TYPE_CHECKING:
    from .panel import Panel


class Widgets(candidateview.Widgets, Protocol):
    showButton: qt.QPushButton
    goOnButton: qt.QPushButton
    moreBox: qt.QDoubleSpinBox
    acceptButton: qt.QPushButton
    discardButton: qt.QPushButton


class ResultSection:
    """The section Result.

    Args:
        onCompare: is called with a volume node, a base and the file of what was made of it.
        onGoOn: is called with what is to be trained on, and for how many minutes.
        onDecided: is called with whether the adapter is in the library now.
    """

    def __init__(
        self,
        ui: Widgets,
        logic: LLMBoostTrainLogic,
        panel: Panel,
        onCompare: Callable[[Any, str, str], None],
        onGoOn: Callable[[AdapterCandidate, float], None],
        onDecided: Callable[[bool], None],
    ) -> None:
        self._ui, self._logic, self._panel = ui, logic, panel
        self._compare, self._goOn, self._decided = onCompare, onGoOn, onDecided
        self._view = CandidateView(ui)
        ui.warningsLabel.setStyleSheet(WARNING_STYLE)
        ui.showButton.connect("clicked()", self._onShow)
        ui.goOnButton.connect("clicked()", self._onGoOn)
        ui.acceptButton.connect("clicked()", self._onAccept)
        ui.discardButton.connect("clicked()", self._onDiscard)

    def refresh(self) -> None:
        """Show what waits for a decision since an earlier training."""
        waiting = self._logic.pending()
        if waiting is not None and self._view.candidate is None:
            self.show(waiting)

    def show(self, candidate: AdapterCandidate) -> None:
        with errorsShown():
            self._view.show(candidate, self._logic.store)

    def clear(self) -> None:
        """Hide it."""
        self._view.clear()

    def showButtons(self, busy: bool) -> None:
        """Only what can be done can be clicked."""
        ui = self._ui
        ui.showButton.enabled = not busy and bool(self._view.selected)
        for widget in (ui.goOnButton, ui.moreBox, ui.acceptButton, ui.discardButton):
            widget.enabled = not busy

    @property
    def _candidate(self) -> AdapterCandidate:
        assert self._view.candidate, "hidden buttons cannot be clicked"
        return self._view.candidate

    def _onShow(self) -> None:
        """The chosen case, by the base and by what was made of it."""
        with errorsShown():
            store, candidate = self._logic.store, self._candidate
            case = store.cases.get(self._view.selected)
            if case is None:
                raise LLMBoostError(_("This case was removed since: choose another one"))
            self._compare(openCase(store, case)[0], candidate.base, str(candidate.path))

    def _onGoOn(self) -> None:
        self._goOn(self._candidate, self._ui.moreBox.value)

    def _onAccept(self) -> None:
        with errorsShown():
            doubts = self._candidate.card.doubts
            question = _("{doubts}.\n\n{advice}. Accept it all the same?")
            text = question.format(doubts=capitalized(doubts), advice=capitalized(ADVICE))
            if doubts and not confirmed(text):
                return
            card = self._logic.accept(self._candidate, anyway=bool(doubts))
            self.clear()
            self._panel.tell(_("{name} is in the list of LLMBoost Segment").format(name=card.name))
            self._decided(True)

    def _onDiscard(self) -> None:
        self._logic.discard(self._candidate)
        self.clear()
        self._panel.tell(_("Discarded"))
        self._decided(False)
