"""The panel of LLMBoost Train: cases, a training at a time, and the decision about what it gave."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from llmboost.card import Card
from llmboost.errors import LLMBoostError
from llmboost.messages.words import AdaptTask

from ..panels import modulepanel
from ..panels.errordisplay import errorsShown
from ..panels.foldedline import FoldedLine
from ..panels.modulepanel import ModulePanel
from ..panels.plaintext import confirmed
from ..panels.plural import counted
from ..panels.run import Work
from ..panels.speed import duration
from . import adaptersview, casesection, nextsection, resultsection, trainingsection
from .adaptersview import AdaptersView
from .candidate import AdapterCandidate
from .cases import TRAIN, VAL, Snapshot
from .casesection import CasesSection
from .casestore import FOLDER_SETTING, CaseStore
from .casesview import title
from .compare import Comparison
from .logic import LLMBoostTrainLogic, Task
from .nextsection import NextSection
from .plan import Findings, examine, makePlan
from .resultsection import ResultSection
from .runfolders import removeStale
from .snapshot import openCase
from .trainingrun import whenLocal
from .trainingsection import TrainingSection

LENGTHS = 12, 26, 16  # letters of the cases, the base model and the time, in the line that tells what is chosen


class Widgets(
    adaptersview.Widgets,
    casesection.Widgets,
    modulepanel.Widgets,
    nextsection.Widgets,
    resultsection.Widgets,
    trainingsection.Widgets,
    Protocol,
):
    """All of LLMBoostTrain.ui, by name."""

    adaptersButton: ctk.ctkCollapsibleButton
    backButton: qt.QPushButton
    choiceButton: ctk.ctkCollapsibleButton
    editorLabel: qt.QLabel
    saveButton: qt.QPushButton


class Panel(ModulePanel):
    """Wires the sections of the panel to the logic, and to each other."""

    def __init__(self, ui: Widgets, logic: LLMBoostTrainLogic) -> None:
        super().__init__(ui, logic)
        self.ui, self.logic = ui, logic
        self._choice = FoldedLine(ui.choiceButton, *LENGTHS)
        self.fold = self._choice.fold
        self.cases = CasesSection(ui, logic, self)
        self.result = ResultSection(ui, logic, self, self._compare, self._onGoOn, self._onCheck, self._onDecided)
        self.training = TrainingSection(ui, logic, self, self.result.clear, self.result.show)
        self.next = NextSection(ui, logic, self)
        self.adapters = AdaptersView(ui, self._onModels, self._onUse, self._onCompareAdapter)
        ui.removeAllButton.connect("clicked()", self._onRemoveAll)
        ui.saveButton.connect("clicked()", self._onSave)
        ui.backButton.connect("clicked()", self._onBack)
        ui.folderEdit.connect("currentPathChanged(QString)", self._onFolder)
        self.run.observe(self.update)
        if self.store is not None:  # else the folder is another program's
            removeStale(logic.folder)

    # The module's life

    def forgetScene(self) -> None:
        """The scene is about to be closed. A training goes on: it has copies of all it needs."""
        if self.run.does(Work.CASES):
            self.runner.stop(_("cancelled, for the scene was closed"))
        self.editor.close()
        self.training.close()
        self.setParameterNode(None)
        self.tell("")

    def shutDown(self) -> None:
        super().shutDown()
        self.training.close()

    def refresh(self) -> None:
        """Look at the folder of cases and at the library again."""
        self.adapters.refresh()
        self.training.refresh()
        self.ui.folderEdit.currentPath = str(self.logic.folder)
        if not self.run.does(Work.TRAINING):
            self.result.refresh()
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
        """Of the base model that is chosen; None: none is."""
        return self.training.base.card(self.parameterNode.base) if self.parameterNode is not None else None

    @property
    def cropper(self) -> str:
        """The base model, if it is to learn its own labels, for which large images are cropped; empty: none."""
        card = self.card
        return card.name if card is not None and self.parameterNode.task.value == AdaptTask.IMPROVE else ""

    def update(self) -> None:
        """Show what follows from the cases and the parameters."""
        if self.parameterNode is None:
            return
        store, card = self.store, self.card
        plan = makePlan(store, card, self.parameterNode.task.value) if store and card else None
        whole, perCase = examine(plan, store) if store and plan else (Findings(), {})
        self.cases.show(plan, perCase)
        self.next.show()
        self.training.show(plan, whole, perCase)
        count = sum(case.role in (TRAIN, VAL) for case in store.cases.values()) if store else 0
        told = counted(count, _("one case"), _("{count} cases")) if count else ""
        self._choice.show(told, card.title if card else "", duration(60 * self.parameterNode.minutes))
        self.showButtons()

    def showButtons(self) -> None:
        """Only what can be done can be clicked."""
        busy = self.run.active
        for section in (self.cases, self.training, self.result, self.next):
            section.showButtons(busy)
        self.adapters.setBusy(busy)

    def _onModels(self) -> None:
        """Models came or went."""
        self.training.refresh()
        self.update()

    def _onFolder(self, path: str) -> None:
        """Also while a path is being typed: the folder around it has to be there."""
        isPlace = Path(path).is_absolute() and Path(path).parent.is_dir()
        if isPlace and Path(path) != self.logic.folder and not self.run.active:
            qt.QSettings().setValue(FOLDER_SETTING, path)
            self.result.clear()
            self.refresh()

    def _onRemoveAll(self) -> None:
        question = _("Delete all copies of cases in {folder}?").format(folder=self.logic.folder)
        if confirmed(question):
            with errorsShown():
                self.logic.store.removeAll()
                self.result.clear()
        self.update()

    def chooseFor(self, model: Card | None) -> None:
        """Choose the training for cases that this model knows: it is the base, or what it was made of is. None: for
        labels that no model knows."""
        self.fold(False)
        name = "" if model is None else model.adapter.base if model.adapter else model.name
        if self.training.base.card(name):
            self.parameterNode.base, self.parameterNode.task = name, Task.IMPROVE
        else:
            self.parameterNode.task = Task.NEW_LABELS

    # The editor

    def edit(self, case: Snapshot) -> None:
        """Open the editor's page on a case."""
        volumeNode, segmentationNode = openCase(self.logic.store, case)
        self.ui.editorLabel.text = _("Case {name}").format(name=title(case))
        self.editor.open(segmentationNode, volumeNode)
        self.update()  # nodes may be new
        if self.parameterNode is None:  # the module was left while the segments were computed
            self.exit()

    def _onSave(self) -> None:
        with errorsShown():
            assert self.editor.nodes
            segmentationNode, volumeNode = self.editor.nodes
            self.cases.copy(volumeNode, segmentationNode)
            self.editor.close()
            self.tell(_("{name}: the segments were copied into the case").format(name=volumeNode.GetName()))
        self.update()

    def _onBack(self) -> None:
        self.editor.close()
        self.update()

    # Computations

    def _onCompareAdapter(self, base: str, adapter: str) -> None:
        with errorsShown():
            volumeNode = self.parameterNode.inputVolume
            if volumeNode is None:
                raise LLMBoostError(_("Choose an image first, above the cases"))
            self._compare(volumeNode, base, adapter)

    def _compare(self, volumeNode: Any, base: str, adapted: str) -> None:
        def show(before: Any, after: Any) -> None:
            if self.parameterNode is not None:  # the module was not left meanwhile
                self.spotlight.on(before, after)
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

    def _onGoOn(self, candidate: AdapterCandidate, minutes: float) -> None:
        self.training.goOn(candidate, minutes)

    def _onCheck(self, candidate: AdapterCandidate, seconds: float) -> None:
        self.training.crossCheck(candidate, seconds)

    def _onDecided(self, accepted: bool) -> None:
        """What a training gave is in the library now, or gone."""
        self.spotlight.off()
        self.fold(accepted)
        if accepted:
            self.adapters.refresh()
            self.ui.adaptersButton.collapsed = False
        self._onModels()

    def _onUse(self, name: str) -> None:
        """Open LLMBoost Segment with this model."""
        with errorsShown():
            slicer.util.selectModule("LLMBoostSegment")
            widget = slicer.util.getModuleWidget("LLMBoostSegment")
            widget.panel.useModel(name)
