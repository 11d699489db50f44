"""The decision about what a training gave."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import qt
from slicer.i18n import tr as _

from llmboost.card.figures import ADVICE
from llmboost.errors import LLMBoostError
from llmboost.messages.words import FOLDS, LEAST_FOLDS, AdaptTask

from ..panels.errordisplay import WARNING_STYLE, capitalized, errorsShown
from ..panels.plaintext import confirmed
from ..panels.speed import duration
from . import candidateview
from .candidate import AdapterCandidate
from .candidateview import CandidateView
from .cases import TRAIN, VAL
from .logic import LLMBoostTrainLogic
from .snapshot import openCase

if TYPE_CHECKING:
    from .panel import Panel


class Widgets(candidateview.Widgets, Protocol):
    showButton: qt.QPushButton
    goOnButton: qt.QPushButton
    moreBox: qt.QDoubleSpinBox
    checkButton: qt.QPushButton
    acceptButton: qt.QPushButton
    discardButton: qt.QPushButton


class ResultSection:
    """The section Result.

    Args:
        onCompare: is called with a volume node, a base and the file of what was made of it.
        onGoOn: is called with what is to be trained on, and for how many minutes.
        onCheck: is called with what is to be checked on every case, and how many seconds that may take.
        onDecided: is called with whether the adapter is in the library now.
    """

    def __init__(
        self,
        ui: Widgets,
        logic: LLMBoostTrainLogic,
        panel: Panel,
        onCompare: Callable[[Any, str, str], None],
        onGoOn: Callable[[AdapterCandidate, float], None],
        onCheck: Callable[[AdapterCandidate, float], None],
        onDecided: Callable[[bool], None],
    ) -> None:
        self._ui, self._logic, self._panel = ui, logic, panel
        self._compare, self._goOn, self._check, self._decided = onCompare, onGoOn, onCheck, onDecided
        self._view = CandidateView(ui)
        ui.warningsLabel.setStyleSheet(WARNING_STYLE)
        ui.showButton.connect("clicked()", self._onShow)
        ui.goOnButton.connect("clicked()", self._onGoOn)
        ui.checkButton.connect("clicked()", self._onCheck)
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
            self._panel.fold(True)

    def clear(self) -> None:
        """Hide it."""
        self._view.clear()

    def showButtons(self, busy: bool) -> None:
        """Only what can be done can be clicked."""
        ui = self._ui
        ui.showButton.enabled = not busy and bool(self._view.selected)
        for widget in (ui.goOnButton, ui.moreBox, ui.acceptButton, ui.discardButton):
            widget.enabled = not busy
        self._showCheck(busy)

    def _showCheck(self, busy: bool) -> None:
        """Offer to check on every case, and tell what that takes."""
        button, candidate = self._ui.checkButton, self._view.candidate
        button.visible = candidate is not None and candidate.task == AdaptTask.NEW_LABELS and not candidate.outOfFold
        if candidate is None or not button.visible:
            return
        folds = self._folds(candidate)
        isPossible = folds >= LEAST_FOLDS
        button.enabled = isPossible and not busy
        time = duration(folds * candidate.seconds)
        button.text = (
            _("C&heck on every case (about {time})").format(time=time) if isPossible else _("C&heck on every case")
        )
        how = _(
            "Tell how good it is by every case, not by what was kept aside alone: {folds} more networks learn as long"
            " as it did, each without some of the cases, and segment those. It stays as it is."
        )
        few = _("Takes cases of {count} patients to train with at least: add some, and train again.")
        button.toolTip = how.format(folds=folds) if isPossible else few.format(count=LEAST_FOLDS)

    def _folds(self, candidate: AdapterCandidate) -> int:
        """How many networks a check trains."""
        training = candidate.card.training
        subjects = training.get("train_cases", 0) + training.get("val_cases", 0)
        if not candidate.dataset:
            cases = self._logic.store.cases.values()
            subjects = len({case.subject for case in cases if case.role in (TRAIN, VAL)})
        return min(subjects, FOLDS)

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

    def _onCheck(self) -> None:
        self._check(self._candidate, self._folds(self._candidate) * self._candidate.seconds)

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
