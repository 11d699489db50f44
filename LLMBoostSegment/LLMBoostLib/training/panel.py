"""The panel of LLMBoost Train: cases, a training at a time, and the decision about what it gave."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import ctk
import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from llmboost.card import Card
from llmboost.card.figures import ADVICE
from llmboost.errors import LLMBoostError

from ..panels.errordisplay import (
    NOTICE_STYLE,
    PROBLEM_STYLE,
    WARNING_STYLE,
    capitalized,
    errorsShown,
    sentence,
)
from ..panels.plaintext import confirmed
from ..panels.progressview import ProgressView
from ..panels.run import Run, Work
from ..panels.runner import Runner
from ..panels.speed import duration
from ..scene.display import Spotlight
from ..worker.client import Progress
from . import adaptersview, basechoice, candidateview, caseeditor, casesection, nextsection
from .adaptersview import AdaptersView
from .basechoice import BaseChoice
from .candidate import AdapterCandidate, checkName
from .candidateview import CandidateView
from .caseeditor import CaseEditor
from .cases import Snapshot
from .casesection import CasesSection
from .casestore import FOLDER_SETTING, CaseStore
from .casesview import title
from .compare import Comparison
from .curves import Curves
from .curvesview import CurvesView
from .figures import finite
from .logic import LLMBoostTrainLogic
from .nextsection import NextSection
from .plan import IMPROVE, Findings, Plan, examine, makePlan
from .runfolders import removeStale
from .snapshot import openCase
from .trainingrun import whenLocal

ETA_FROM = 0.03  # of the whole, from which on the time that is left can be told


class Widgets(
    adaptersview.Widgets,
    basechoice.Widgets,
    candidateview.Widgets,
    caseeditor.Widgets,
    casesection.Widgets,
    nextsection.Widgets,
    Protocol,
):
    """All of LLMBoostTrain.ui, by name."""

    acceptButton: qt.QPushButton
    adaptersButton: ctk.ctkCollapsibleButton
    backButton: qt.QPushButton
    deviceBox: qt.QComboBox
    discardButton: qt.QPushButton
    finishButton: qt.QPushButton
    minutesBox: qt.QDoubleSpinBox
    noticeLabel: qt.QLabel
    plotFrame: qt.QFrame
    problemsLabel: qt.QLabel
    progressBar: qt.QProgressBar
    saveButton: qt.QPushButton
    showButton: qt.QPushButton
    startButton: qt.QPushButton
    statusLabel: qt.QLabel
    taskBox: qt.QComboBox


class Panel(VTKObservationMixin):
    """Wires the sections of the panel to the logic, and to each other."""

    def __init__(self, ui: Widgets, logic: LLMBoostTrainLogic) -> None:
        super().__init__()
        self.ui, self.logic = ui, logic
        self.parameterNode: Any = None
        self._guiTag: int | None = None
        self._isReady = False  # for a training
        self._fraction = 0.0  # of the training that is done
        ui.noticeLabel.setStyleSheet(NOTICE_STYLE)
        ui.warningsLabel.setStyleSheet(WARNING_STYLE)
        self.progress = ProgressView(ui.progressBar, ui.statusLabel)
        self.run = Run(logic.client.cancel)
        self.runner = Runner(self.run, self.progress)
        self.curves, self.curvesView = Curves(), CurvesView(ui.plotFrame)
        self._spotlight = Spotlight()  # on what is edited or compared
        self.editor = CaseEditor(ui, self._spotlight)
        self.base = BaseChoice(ui, self._onBase, self._onName)
        self.cases = CasesSection(ui, logic, self)
        self.candidate = CandidateView(ui)
        self.next = NextSection(ui, logic, self)
        self.adapters = AdaptersView(ui, self._onModels, self._onUse, self._onCompareAdapter)
        ui.plotFrame.visible = False
        for button, slot in (
            (ui.removeAllButton, self._onRemoveAll),
            (ui.startButton, self._onStart),
            (ui.finishButton, self._onFinish),
            (ui.showButton, self._onShow),
            (ui.acceptButton, self._onAccept),
            (ui.discardButton, self._onDiscard),
            (ui.saveButton, self._onSave),
            (ui.backButton, self._onBack),
        ):
            button.connect("clicked()", slot)
        ui.folderEdit.connect("currentPathChanged(QString)", self._onFolder)
        self.run.observe(self.update)
        if self.store is not None:  # else the folder is another program's
            removeStale(logic.folder)

    # The module's life

    def setParameterNode(self, parameterNode: Any) -> None:
        """Show and change this node's parameters; None: no node's, as when the module is left."""
        if self.parameterNode is not None:
            self.parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self.parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParameters)
        self.parameterNode = parameterNode
        if parameterNode is not None:
            self._guiTag = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParameters)
            self.refresh()

    def enter(self) -> None:
        self.editor.enter()

    def exit(self) -> None:
        """A training goes on meanwhile."""
        self.editor.exit()

    def forgetScene(self) -> None:
        """The scene is about to be closed. A training goes on: it has copies of all it needs."""
        if self.run.does(Work.CASES):
            self.runner.stop(_("cancelled, for the scene was closed"))
        self.editor.close()
        self.curvesView.close()
        self.setParameterNode(None)
        self.tell("")

    def shutDown(self) -> None:
        """The module is reloaded, or Slicer ends."""
        self.runner.stop(_("cancelled"))
        self.logic.client.shutDown()
        self.setParameterNode(None)
        self.curvesView.close()
        self.editor.close()
        self.removeObservers()

    def refresh(self) -> None:
        """Look at the folder of cases and at the library again."""
        self.base.fill(self.parameterNode.base)
        self.adapters.refresh()
        self.ui.folderEdit.currentPath = str(self.logic.folder)
        training, waiting = self.run.does(Work.TRAINING), self.logic.pending()
        if not training and waiting is not None and self.candidate.candidate is None:
            self._showCandidate(waiting)
        if training or self.curves.points["loss"]:
            self._showCurves()
        self.update()

    # What is shown

    @property
    def store(self) -> CaseStore | None:
        """The cases; None where their folder cannot be read."""
        try:
            return self.logic.store
        except LLMBoostError:
            return None

    @property
    def card(self) -> Card | None:
        """Of the base model that is chosen."""
        return self.base.card(self.parameterNode.base) if self.parameterNode is not None else None

    @property
    def cropper(self) -> str:
        """The base model, if it is to learn its own labels, for which large images are cropped."""
        card = self.card
        return card.name if card is not None and self.parameterNode.task.value == IMPROVE else ""

    def tell(self, text: str) -> None:
        """Put a sentence into the status line, unless it tells of a run."""
        if not self.run.active:
            self.progress.stop(text)

    def update(self) -> None:
        """Show what follows from the cases and the parameters."""
        if self.parameterNode is None:
            return
        store, card = self.store, self.card
        plan = makePlan(store, card, self.parameterNode.task.value) if store and card else None
        whole, perCase = examine(plan, store) if store and plan else (Findings(), {})
        self.cases.show(plan, perCase)
        self.next.show()
        if card is not None and not self.run.active:
            self.base.proposeName(card.name)
        self._showProblems(self._problems(plan, whole, perCase), whole.notes)
        self.showButtons()

    def _problems(self, plan: Plan | None, whole: Findings, perCase: Mapping[str, Findings]) -> list[str]:
        """Why no training can start."""
        try:
            self.logic.store  # noqa: B018
        except LLMBoostError as error:
            return [sentence(error)]
        if plan is None:
            return [_("Choose a base model")]
        problems = list(whole.problems)
        count = sum(bool(found.problems) for found in perCase.values())
        if count:
            problems.append(
                _("{count} case(s) have problems, told in the section Cases: mend them").format(count=count)
            )
        try:
            checkName(self.ui.nameEdit.text.strip())
        except LLMBoostError as error:
            problems.append(str(error))
        return problems

    def _showProblems(self, problems: list[str], notes: list[str]) -> None:
        label = self.ui.problemsLabel
        self._isReady = not problems
        label.text = "\n".join(problems or notes)
        label.setStyleSheet(PROBLEM_STYLE if problems else WARNING_STYLE)
        label.visible = bool(label.text) and not self.run.does(Work.TRAINING)

    def showButtons(self) -> None:
        """Only what can be done can be clicked."""
        ui, busy = self.ui, self.run.active
        self.cases.showButtons(busy)
        self.next.showButtons(busy)
        self.adapters.setBusy(busy)
        ui.startButton.text = _("&Cancel") if busy else _("&Start")
        ui.startButton.enabled = busy or self._isReady
        ui.startButton.toolTip = _("Stop, and keep nothing") if busy else _("Train an adapter of the base model")
        ui.finishButton.visible = self.run.does(Work.TRAINING)
        for widget in (ui.baseBox, ui.taskBox, ui.minutesBox, ui.deviceBox, ui.nameEdit):
            widget.enabled = not busy
        ui.showButton.enabled = not busy and bool(self.candidate.selected)
        ui.acceptButton.enabled = ui.discardButton.enabled = not busy

    def _onParameters(self, _caller: Any, _event: Any) -> None:
        self.update()

    def _onBase(self, name: str) -> None:
        self.parameterNode.base = name

    def _onName(self, _text: str) -> None:
        self.update()

    def _onModels(self) -> None:
        """Models came or went."""
        self.base.fill(self.parameterNode.base)
        self.update()

    def _onFolder(self, path: str) -> None:
        """Also while a path is being typed: the folder around it has to be there."""
        isPlace = Path(path).is_absolute() and Path(path).parent.is_dir()
        if isPlace and Path(path) != self.logic.folder and not self.run.active:
            qt.QSettings().setValue(FOLDER_SETTING, path)
            self.candidate.clear()
            self.refresh()

    def _onRemoveAll(self) -> None:
        question = _("Delete all copies of cases in {folder}?").format(folder=self.logic.folder)
        if confirmed(question):
            with errorsShown():
                self.logic.store.removeAll()
                self.candidate.clear()
        self.update()

    # The editor

    def edit(self, case: Snapshot) -> None:
        """Open the editor's page on a case."""
        self.editor.open(title(case), *openCase(self.logic.store, case))
        self.update()  # nodes may be new
        if self.parameterNode is None:  # the module was left while the segments were computed
            self.exit()

    def _onSave(self) -> None:
        with errorsShown():
            assert self.editor.nodes
            volumeNode, segmentationNode = self.editor.nodes
            self.cases.copy(volumeNode, segmentationNode)
            self.editor.close()
            self.tell(_("{name}: the segments were copied into the case").format(name=volumeNode.GetName()))
        self.update()

    def _onBack(self) -> None:
        self.editor.close()
        self.update()

    # A training

    def _onStart(self) -> None:
        if self.run.active:
            self.runner.stop(_("cancelled"))
            return
        question = _("The adapter '{name}' waits for a decision. Discard it, and train again?")
        waiting = self.logic.pending()
        if waiting and not confirmed(question.format(name=waiting.name)):
            return
        self.candidate.clear()
        self.curves.clear()
        self._showCurves()
        self._fraction = 0.0
        self.ui.finishButton.enabled = True
        self.runner.begin(Work.TRAINING, _("starting"), self._train)

    def _train(self) -> None:
        node = self.parameterNode
        self.run.go()
        self.logic.train(
            node.base,
            task=node.task.value,
            minutes=node.minutes,
            device=node.device.value,
            name=self.ui.nameEdit.text.strip(),
            waitForCompletion=False,
            onProgress=self._onProgress,
            onDone=self._trained,
            onError=self.runner.failed,
        )

    def _onFinish(self) -> None:
        self.logic.training.finish()
        self.ui.finishButton.enabled = False
        self.progress.say(_("coming to an end"))

    def _onProgress(self, news: Progress) -> None:
        """Events between the steps tell no fraction, and are worth a word."""
        self.curves.hear(news.event)
        event, text = news.event or {}, news.text
        if event.get("event") == "validation" and (dice := finite(event.get("dice"))) is not None:
            text = _("checked: Dice {dice:.3f}").format(dice=dice)
        if news.fraction is not None:
            self._fraction = news.fraction
        if ETA_FROM < self._fraction < 1:
            left = self.progress.seconds * (1 - self._fraction) / self._fraction
            text = _("{text} · about {time} left").format(text=text, time=duration(left))
        if not self.run.reason:
            self.progress.tell(replace(news, fraction=self._fraction or None, text=text))

    def _trained(self, candidate: AdapterCandidate) -> None:
        self.curves.show()
        self._showCandidate(candidate)
        time = duration(self.progress.seconds)
        self.runner.ended(_("Done in {time}: accept or discard the result").format(time=time))

    def _showCandidate(self, candidate: AdapterCandidate) -> None:
        with errorsShown():
            self.candidate.show(candidate, self.logic.store)

    def _showCurves(self) -> None:
        self.ui.plotFrame.visible = True
        self.curvesView.show(self.curves.show())

    def _onAccept(self) -> None:
        candidate = self.candidate.candidate
        assert candidate
        with errorsShown():
            doubts = candidate.card.doubts
            question = _("{doubts}.\n\n{advice}. Accept it all the same?")
            text = question.format(doubts=capitalized(doubts), advice=capitalized(ADVICE))
            if doubts and not confirmed(text):
                return
            card = self.logic.accept(candidate, anyway=bool(doubts))
            self._clearCandidate()
            self.tell(_("{name} is in the list of LLMBoost Segment").format(name=card.name))
            self.adapters.refresh()
            self.ui.adaptersButton.collapsed = False
        self._onModels()

    def _onDiscard(self) -> None:
        assert self.candidate.candidate
        self.logic.discard(self.candidate.candidate)
        self._clearCandidate()
        self.tell(_("Discarded"))
        self.update()

    def _clearCandidate(self) -> None:
        self.candidate.clear()
        self._spotlight.off()

    # Other computations

    def _onShow(self) -> None:
        """The chosen case, by the base and by what was made of it."""
        candidate, store = self.candidate.candidate, self.logic.store
        assert candidate
        with errorsShown():
            case = store.cases.get(self.candidate.selected)
            if case is None:
                raise LLMBoostError(_("This case was removed since: choose another one"))
            self._compare(openCase(store, case)[0], candidate.base, str(candidate.path))

    def _onCompareAdapter(self, base: str, adapter: str) -> None:
        with errorsShown():
            volumeNode = self.parameterNode.inputVolume
            if volumeNode is None:
                raise LLMBoostError(_("Choose an image in the section Cases first"))
            self._compare(volumeNode, base, adapter)

    def _compare(self, volumeNode: Any, base: str, adapted: str) -> None:
        def show(before: Any, after: Any) -> None:
            if self.parameterNode is not None:  # the module was not left meanwhile
                self._spotlight.on(before, after)
            done = _("{before} (outlines) and {after} (filled) are in the views")
            self.runner.ended(done.format(before=before.GetName(), after=after.GetName()))

        start = partial(Comparison(self.logic.client).start, volumeNode, base, adapted, self.parameterNode.device.value)
        self.compute(_("segmenting"), lambda: start(self.progress.tell, show, self.runner.failed))

    def compute(self, text: str, start: Callable[[], None]) -> None:
        """Begin what only a worker of this machine may do."""

        def ready() -> None:
            self.run.go()
            start()

        self.runner.begin(Work.CASES, text, lambda: whenLocal(self.logic.client, ready, self.runner.failed))

    def _onUse(self, name: str) -> None:
        """Open LLMBoost Segment with this model."""
        with errorsShown():
            slicer.util.selectModule("LLMBoostSegment")
            widget = slicer.util.getModuleWidget("LLMBoostSegment")
            widget.panel.useModel(name)
