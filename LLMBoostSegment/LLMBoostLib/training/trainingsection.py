"""A training: from which base, for how long, how it goes on, and what stands in its way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import ctk
import qt
from slicer.i18n import tr as _

from llmboost.card.figures import worst_first
from llmboost.errors import LLMBoostError
from llmboost.learn.forecast import forecast
from llmboost.messages.words import AdaptTask
from llmboost.messages.worker import PlanEvent, Progress, ValidationEvent

from ..panels.errordisplay import NOTICE_STYLE, PROBLEM_STYLE, WARNING_STYLE, sentence
from ..panels.plaintext import confirmed, tip
from ..panels.plural import counted
from ..panels.run import Work
from ..panels.speed import duration
from . import basechoice
from .basechoice import BaseChoice
from .candidate import AdapterCandidate, checkName
from .cases import TRAIN, VAL
from .casesview import title
from .curves import Curves
from .curvesview import CurvesView
from .figures import finite
from .logic import LLMBoostTrainLogic
from .plan import Findings, Plan

if TYPE_CHECKING:
    from .panel import Panel

WORST = 3  # labels of a validation that are named


class Widgets(basechoice.Widgets, Protocol):
    taskBox: qt.QComboBox
    minutesBox: qt.QDoubleSpinBox
    deviceBox: qt.QComboBox
    outlookLabel: qt.QLabel
    startButton: qt.QPushButton
    startLabel: qt.QLabel
    finishButton: qt.QPushButton
    curvesButton: ctk.ctkCollapsibleButton
    plotFrame: qt.QWidget


class TrainingSection:
    """What is chosen for a training, its start and its progress.

    Args:
        onStart: is called when the user starts a training.
        onDone: is called with what it gave.
    """

    def __init__(
        self,
        ui: Widgets,
        logic: LLMBoostTrainLogic,
        panel: Panel,
        onStart: Callable[[], None],
        onDone: Callable[[AdapterCandidate], None],
    ) -> None:
        self._ui, self._logic, self._panel, self._starts, self._done = ui, logic, panel, onStart, onDone
        self._problems: list[str] = []
        self._fraction, self._minutes = 0.0, 0.0  # of the training: what is done of it, and how long it may take
        self._isCheck = False  # what goes on is no training of the model itself
        self.base = BaseChoice(ui, self._onBase, self._onName)
        self.curves, self._curvesView = Curves(), CurvesView(ui.plotFrame)
        ui.curvesButton.visible = ui.outlookLabel.visible = False
        ui.startButton.connect("clicked()", self._onStart)
        ui.finishButton.connect("clicked()", self._onFinish)

    def refresh(self) -> None:
        """Look into the library again; show the curves also in a scene that is new, until it is decided about them."""
        self.base.fill(self._panel.parameterNode.base)
        isTraining = self._panel.run.does(Work.TRAINING) and not self._isCheck
        self._ui.curvesButton.visible = isTraining or bool(self.curves.points["loss"] and self._logic.pending())
        if self._ui.curvesButton.visible:
            self._showCurves()

    def show(self, plan: Plan | None, whole: Findings, perCase: Mapping[str, Findings]) -> None:
        """Tell beside the button what stands in the way, or speaks against it, or how long it takes."""
        label = self._ui.startLabel
        if plan is not None and not self._panel.run.active:
            self.base.proposeName(plan.origin)
        self._problems = problems = self._examine(plan, whole, perCase)
        label.text, style = "\n".join(problems or whole.notes), PROBLEM_STYLE if problems else WARNING_STYLE
        store = self._panel.store
        if not label.text or (problems and store and not store.cases):  # that nothing is there yet is no fault
            style = NOTICE_STYLE
        time = duration(60 * self._panel.parameterNode.minutes)
        label.text = label.text or _("about {time} on this machine").format(time=time)
        label.setStyleSheet(style)
        label.visible = not self._panel.run.does(Work.TRAINING)
        if not self._panel.run.does(Work.TRAINING):
            self._tellOutlook(self._forecast(plan) if plan is not None and not problems else "")

    def showButtons(self, busy: bool) -> None:
        """Only what can be done can be clicked."""
        ui = self._ui
        ui.startButton.text = _("&Cancel") if busy else _("&Start")
        ui.startButton.enabled = busy or not self._problems
        what = "\n".join(self._problems) or _("Train with these cases")
        ui.startButton.toolTip = tip(_("Stop, and keep nothing") if busy else what)
        ui.finishButton.visible = self._panel.run.does(Work.TRAINING) and not self._isCheck
        for widget in (ui.baseBox, ui.taskBox, ui.minutesBox, ui.deviceBox, ui.nameEdit):
            widget.enabled = not busy

    def close(self) -> None:
        """Hold no node any more."""
        self._curvesView.close()

    def _onBase(self, name: str) -> None:
        self._panel.parameterNode.base = name

    def _onName(self, _text: str) -> None:
        self._panel.update()

    def _examine(self, plan: Plan | None, whole: Findings, perCase: Mapping[str, Findings]) -> list[str]:
        """Why no training can start."""
        try:
            self._logic.store  # noqa: B018
        except LLMBoostError as error:
            return [sentence(error)]
        if plan is None:
            return [_("Choose a base model")]
        problems = list(whole.problems)
        count = sum(bool(found.problems) for found in perCase.values())
        if count:
            one = _("One case has problems, told below the table: mend them")
            problems.append(counted(count, one, _("{count} cases have problems, told below the table: mend them")))
        try:
            checkName(self._ui.nameEdit.text.strip())
        except LLMBoostError as error:
            problems.append(str(error))
        return problems

    def _onStart(self) -> None:
        if self._panel.run.active:
            self._panel.runner.stop(_("cancelled"))
            return
        question = _("The model '{name}' waits for a decision. Discard it, and train again?")
        waiting = self._logic.pending()
        if waiting and not confirmed(question.format(name=waiting.name)):
            return
        self._starts()
        self.curves.clear()
        node, name = self._panel.parameterNode, self._ui.nameEdit.text.strip()
        train = partial(
            self._logic.train,
            node.base,
            task=node.task.value,
            minutes=node.minutes,
            device=node.device.value,
            name=name,
        )
        self._begin(train, node.minutes)

    def goOn(self, candidate: AdapterCandidate, minutes: float) -> None:
        """Train on what waits for a decision, for so many minutes more."""
        self._begin(partial(self._logic.goOn, candidate, minutes=minutes), minutes)

    def crossCheck(self, candidate: AdapterCandidate, seconds: float) -> None:
        """Tell by every case how good what waits for a decision is, in about so many seconds."""
        self._begin(partial(self._logic.crossCheck, candidate), seconds / 60, isCheck=True)

    def _begin(self, train: Callable[..., Any], minutes: float, *, isCheck: bool = False) -> None:
        def start() -> None:
            self._panel.run.go()
            listeners = {"onProgress": self._onProgress, "onDone": self._trained, "onError": self._failed}
            train(waitForCompletion=False, **listeners)

        self._fraction, self._minutes, self._isCheck = 0.0, minutes, isCheck
        if not isCheck:
            self._showCurves()
            self._ui.curvesButton.collapsed = False
        self._tellOutlook("")
        self._ui.finishButton.enabled = True
        self._panel.runner.begin(Work.TRAINING, _("starting"), start, 60 * minutes)
        self._fold()

    def _onFinish(self) -> None:
        self._logic.training.finish()
        self._ui.finishButton.enabled = False
        self._panel.progress.say(_("coming to an end"))

    def _onProgress(self, news: Progress) -> None:
        """Events between the steps tell no fraction, and are worth a word."""
        self.curves.hear(news.event)
        event, text = news.event, news.text
        if isinstance(event, PlanEvent):
            self._tellHeldOut(event)
        if isinstance(event, ValidationEvent) and event.measure == "dice" and finite(event.value) is not None:
            text = _("checked: Dice {dice:.3f}").format(dice=event.value)
            if len(event.labels) > 1:
                text += f" ({', '.join(worst_first(event.labels, WORST))})"
        if news.fraction is not None:
            self._fraction = news.fraction
        if not self._panel.run.reason:
            self._panel.progress.tell(replace(news, fraction=self._fraction or None, text=text))

    def _tellHeldOut(self, event: PlanEvent) -> None:
        """Which cases are not learned from, but checked with."""
        cases = self._logic.store.cases
        names = [title(cases[id]) if id in cases else id for id in event.held_out]
        self._tellOutlook(_("Kept aside to check with: {names}").format(names=", ".join(names)) if names else "")

    def _forecast(self, plan: Plan) -> str:
        """What to expect; empty where that is not known."""
        if plan.task != AdaptTask.NEW_LABELS:
            return ""
        count = sum(case.role in (TRAIN, VAL) for case in self._logic.store.cases.values())
        return forecast(count, self._panel.parameterNode.minutes, len(plan.labels))

    def _tellOutlook(self, text: str) -> None:
        self._ui.outlookLabel.text = text
        self._ui.outlookLabel.visible = bool(text)

    def _trained(self, candidate: AdapterCandidate) -> None:
        self.curves.show()
        self._ui.curvesButton.collapsed = True
        self._done(candidate)
        text = _("Done in {time} ({planned} planned): accept or discard the result")
        if self._isCheck:
            text = _("Checked on every case in {time} ({planned} expected): accept or discard the result")
        took = duration(self._panel.progress.seconds)
        self._panel.runner.ended(text.format(time=took, planned=duration(60 * self._minutes)))

    def _failed(self, error: Exception) -> None:
        self._panel.runner.failed(error)
        self._fold()

    def _fold(self) -> None:
        """What is chosen makes room for what goes on, and for a result."""
        self._panel.fold(self._panel.run.active or self._logic.pending() is not None)

    def _showCurves(self) -> None:
        self._ui.curvesButton.visible = True
        self._curvesView.show(self.curves.show())
