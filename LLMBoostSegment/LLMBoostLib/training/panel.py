"""The panel of LLMBoost Train: cases, a training at a time, and the decision about what it gave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from llmboost.card import SEGMENTATION, Card
from llmboost.card.figures import ADVICE
from llmboost.errors import LLMBoostError

from ..panels.editorview import EditorView
from ..panels.errordisplay import (
    NOTICE_STYLE,
    PROBLEM_STYLE,
    WARNING_STYLE,
    capitalized,
    errorsShown,
    sentence,
    showError,
)
from ..panels.modelchooser import Entry, entries
from ..panels.plaintext import TITLE, confirmed
from ..panels.progressview import ProgressView
from ..panels.speed import duration
from ..scene.display import Spotlight, showVolume
from ..scene.segmentation import writeSegmentation
from ..worker.client import Answer, Progress, WorkerError
from .adaptersview import AdaptersView
from .candidate import AdapterCandidate, checkName, freeName
from .cases import UNLABELED, Snapshot
from .casestore import FOLDER_SETTING, CaseStore
from .casesview import CasesView, title
from .compare import Comparison, segmentVolume
from .curves import Curves, CurvesView
from .figures import finite
from .nextview import NextView
from .outcomeview import OutcomeView
from .plan import IMPROVE, Findings, Plan, examine, makePlan
from .runfolders import removeStale
from .snapshot import CASE, nodesOf, openCase
from .trainingrun import whenLocal

TRAINING, OTHER = "training", "other"  # what goes on
ETA_FROM = 0.03  # of the whole, from which on the time that is left can be told


class Panel(VTKObservationMixin):
    """Wires the widgets of LLMBoostTrain.ui to the logic.

    Args:
        ui: the widgets by name.
        logic: a LLMBoostTrainLogic.
    """

    def __init__(self, ui: Any, logic: Any) -> None:
        super().__init__()
        self.ui, self.logic = ui, logic
        self._parameterNode: Any = None
        self._guiTag: int | None = None
        self._activity = ""
        self._stopReason = ""
        self._fraction = 0.0  # of the training that is done
        self._proposedName = ""
        self._edited: tuple[Snapshot, Any, Any] | None = None  # what the editor shows
        ui.noticeLabel.setStyleSheet(NOTICE_STYLE)
        ui.warningsLabel.setStyleSheet(WARNING_STYLE)
        self.progress = ProgressView(ui.progressBar, ui.statusLabel)
        self.curves, self.curvesView = Curves(), CurvesView(ui.plotFrame)
        self.editor = EditorView(ui.editorFrame)
        self.spotlight = Spotlight()  # on what is edited or compared
        self.cases = CasesView(ui, self._update, self._showButtons, errorsShown)
        self.outcome = OutcomeView(ui)
        self.next = NextView(ui, self._showButtons)
        self.adapters = AdaptersView(ui, self._onModels, self._onUse, self._onCompareAdapter)
        self._bases: list[Entry] = []
        ui.plotFrame.visible = False
        self._connect()
        self._showPage(editing=False)
        if self._store is not None:  # else the folder is another one's
            removeStale(logic.folder)

    def _connect(self) -> None:
        ui = self.ui
        for button, slot in (
            (ui.addButton, self._onAdd),
            (ui.addAllButton, self._onAddAll),
            (ui.importButton, self._onImport),
            (ui.editButton, self._onEdit),
            (ui.updateButton, self._onTakeOver),
            (ui.removeButton, self._onRemove),
            (ui.removeAllButton, self._onRemoveAll),
            (ui.folderButton, self._onShowFolder),
            (ui.startButton, self._onStart),
            (ui.finishButton, self._onFinish),
            (ui.showButton, self._onShow),
            (ui.acceptButton, self._onAccept),
            (ui.discardButton, self._onDiscard),
            (ui.rankButton, self._onRank),
            (ui.labelButton, self._onLabel),
            (ui.saveButton, self._onSave),
            (ui.backButton, self._onBack),
        ):
            button.connect("clicked()", slot)
        ui.baseBox.connect("activated(int)", self._onBase)
        ui.nameEdit.connect("textChanged(QString)", self._onName)
        ui.folderEdit.connect("currentPathChanged(QString)", self._onFolder)
        ui.segmentationSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._onSegmentation)

    # The module's life

    def setParameterNode(self, parameterNode: Any) -> None:
        """Show and change this node's parameters; None: no node's, as when the module is left."""
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._update)
        self._parameterNode = parameterNode
        if parameterNode is not None:
            self._guiTag = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self._update)
            self.refresh()

    def enter(self) -> None:
        if self._edited:
            self.editor.resume()
            self.spotlight.on(self._edited[2])

    def exit(self) -> None:
        """A training goes on meanwhile."""
        self.editor.pause()
        self.spotlight.off()

    def forgetScene(self) -> None:
        """The scene is about to be closed. A training goes on: it has copies of all it needs."""
        if self._activity == OTHER:
            self._stop(_("cancelled, for the scene was closed"))
        self._closeEditor()
        self.curvesView.close()
        self.setParameterNode(None)
        self._tell("")

    def shutDown(self) -> None:
        """The module is reloaded, or Slicer ends."""
        self._stop(_("cancelled"))
        self.logic.client.shutDown()
        self.setParameterNode(None)
        self.curvesView.close()
        self._closeEditor()
        self.removeObservers()

    def refresh(self) -> None:
        """Look at the folder of cases and at the library again."""
        self._fillBases()
        self.adapters.refresh()
        self.ui.folderEdit.currentPath = str(self.logic.folder)
        outcome = self.logic.pending()
        if self._activity != TRAINING and outcome is not None and self.outcome.outcome is None:
            self._showOutcome(outcome)
        if self._activity == TRAINING or self.curves.points["loss"]:
            self._showCurves()
        self._update()

    # What is shown

    @property
    def _store(self) -> CaseStore | None:
        """The cases; None where their folder cannot be read."""
        try:
            return self.logic.store
        except LLMBoostError:
            return None

    @property
    def _card(self) -> Card | None:
        """Of the base model that is chosen."""
        name = self._parameterNode.base if self._parameterNode is not None else ""
        return next((entry.card for entry in self._bases if entry.name == name), None)

    @property
    def _cropper(self) -> str:
        """The base model, if it is to learn its own labels, for which large images are cropped."""
        return self._card.name if self._card is not None and self._parameterNode.task.value == IMPROVE else ""

    def _plan(self, store: CaseStore | None) -> Plan | None:
        card = self._card
        return makePlan(store, card, self._parameterNode.task.value) if store and card else None

    def _update(self, _caller: Any = None, _event: Any = None) -> None:
        """Show what follows from the cases and the parameters."""
        if self._parameterNode is None:
            return
        store = self._store
        plan = self._plan(store)
        whole, perCase = examine(plan, store) if plan else (Findings(), {})
        self.cases.show(store, plan, perCase)
        self.next.show(store)
        self._proposeName()
        self._showProblems(self._problems(plan, whole, perCase), whole.notes)
        self._showButtons()

    def _problems(self, plan: Plan | None, whole: Findings, perCase: dict[str, Findings]) -> list[str]:
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
        label.visible = bool(label.text) and self._activity != TRAINING

    def _showButtons(self) -> None:
        """Only what can be done can be clicked."""
        ui, busy, training = self.ui, bool(self._activity), self._activity == TRAINING
        node, selected = self._parameterNode, self.cases.selected
        ui.addButton.enabled = node is not None and node.inputVolume is not None
        ui.editButton.enabled = len(selected) == 1
        ui.updateButton.enabled = any(self.cases.isEdited(case) for case in selected)
        ui.removeButton.enabled = bool(selected)
        ui.removeAllButton.enabled = bool(self._store and self._store.cases) and not busy
        ui.startButton.text = _("&Cancel") if busy else _("&Start")
        ui.startButton.enabled = busy or self._isReady
        ui.startButton.toolTip = _("Stop, and keep nothing") if busy else _("Train an adapter of the base model")
        ui.finishButton.visible = training
        for widget in (ui.baseBox, ui.taskBox, ui.minutesBox, ui.deviceBox, ui.nameEdit, ui.folderEdit):
            widget.enabled = not busy
        ui.showButton.enabled = not busy and bool(self.outcome.selected)
        ui.acceptButton.enabled = ui.discardButton.enabled = not busy
        waiting = any(case.role == UNLABELED for case in self._store.cases.values()) if self._store else False
        ui.rankButton.enabled = not busy and waiting and self._card is not None
        ui.labelButton.enabled = not busy and bool(self.next.selected) and self._card is not None
        self.adapters.setBusy(busy)

    def _fillBases(self) -> None:
        """Models that segment and are no adapters themselves."""
        box = self.ui.baseBox
        self._bases = [entry for entry in entries() if entry.card and _canBeBase(entry.card)]
        wasBlocked = box.blockSignals(True)
        box.clear()
        box.addItems([f"{entry.title} · {entry.card.modality}" for entry in self._bases])
        names = [entry.name for entry in self._bases]
        box.setCurrentIndex(names.index(self._parameterNode.base) if self._parameterNode.base in names else -1)
        box.blockSignals(wasBlocked)

    def _proposeName(self) -> None:
        """A free name, as long as the user has not written one."""
        edit = self.ui.nameEdit
        if edit.text in ("", self._proposedName) and self._card is not None and not self._activity:
            self._proposedName = freeName(self._card.name)
            wasBlocked = edit.blockSignals(True)
            edit.text = self._proposedName
            edit.blockSignals(wasBlocked)

    def _onBase(self, index: int) -> None:
        self._parameterNode.base = self._bases[index].name

    def _onName(self, _text: str) -> None:
        self._update()

    def _onModels(self) -> None:
        """Models came or went."""
        self._fillBases()
        self._update()

    # Cases

    def _onSegmentation(self, node: Any) -> None:
        """The image that was segmented is probably meant."""
        if node is not None and self._parameterNode is not None:
            volumeNode = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
            self._parameterNode.inputSegmentation = node  # before the rest changes, which shows all parameters again
            if volumeNode is not None:
                self._parameterNode.inputVolume = volumeNode

    def _onAdd(self) -> None:
        with errorsShown():
            node = self._parameterNode
            cases = self.logic.addCases(node.inputVolume, node.inputSegmentation, base=self._cropper)
            for case in cases:
                self.cases.remember(case)
            text = _("{name} is a case now ({count} in all)")
            if len(cases) > 1:
                text = _("crops of it are cases now: {name} ({count} in all)")
            names = ", ".join(title(case) for case in cases)
            self._tell(text.format(name=names, count=len(self._store.cases)))
        self._update()

    def _onAddAll(self) -> None:
        with errorsShown():
            cases = self.logic.addAllOfScene(self._cropper)
            for case in cases:
                self.cases.remember(case)
            self._tell(_("{count} case(s) added from the scene").format(count=len(cases)))
        self._update()

    def _onImport(self) -> None:
        with errorsShown():
            text = _("A folder with dataset.json, imagesTr and labelsTr")
            folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), text)
            if folder:
                with _busyDialog(_("Copying cases")) as onCase:
                    count = self.logic.importFolder(Path(folder), onCase)
                self._tell(_("{count} case(s) copied from {folder}").format(count=count, folder=folder))
        self._update()

    def _onTakeOver(self) -> None:
        with errorsShown():
            for case in self.cases.selected:
                if self.cases.isEdited(case):
                    for one in self.logic.addCases(*nodesOf(case), base=self._cropper):
                        self.cases.remember(one)
        self._update()

    def _onRemove(self) -> None:
        ids = [case.id for case in self.cases.selected]
        question = _("Delete the copies of {count} case(s)? Nodes in the scene stay.").format(count=len(ids))
        if confirmed(question):
            with errorsShown():
                self._store.remove(ids)
        self._update()

    def _onRemoveAll(self) -> None:
        question = _("Delete all copies of cases in {folder}?").format(folder=self.logic.folder)
        if confirmed(question):
            with errorsShown():
                self._store.removeAll()
                self.outcome.clear()
        self._update()

    def _onFolder(self, path: str) -> None:
        """Also while a path is being typed: the folder around it has to be there."""
        isPlace = Path(path).is_absolute() and Path(path).parent.is_dir()
        if isPlace and Path(path) != self.logic.folder and not self._activity:
            qt.QSettings().setValue(FOLDER_SETTING, path)
            self.outcome.clear()
            self.refresh()

    def _onShowFolder(self) -> None:
        with errorsShown():
            folder = self.logic.folder
            if not folder.is_dir():
                raise LLMBoostError(_("{folder} is made with the first case").format(folder=folder))
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))

    # The editor

    def _onEdit(self) -> None:
        with errorsShown():
            (case,) = self.cases.selected
            self._openEditor(case)

    def _openEditor(self, case: Snapshot) -> None:
        volumeNode, segmentationNode = openCase(self._store, case)
        self.cases.isEdited(case)  # remembers what was copied, if the node is new
        showVolume(volumeNode)
        self._edited = case, volumeNode, segmentationNode
        self.ui.editorLabel.text = _("Case {name}").format(name=title(case))
        self._showPage(editing=True)
        self.editor.open(segmentationNode, volumeNode)
        self.spotlight.on(segmentationNode)
        if self._parameterNode is None:  # the module was left while the segments were computed
            self.exit()

    def _onSave(self) -> None:
        with errorsShown():
            _case, volumeNode, segmentationNode = self._edited
            for one in self.logic.addCases(volumeNode, segmentationNode, base=self._cropper):
                self.cases.remember(one)
            self._closeEditor()
            self._tell(_("{name}: the segments were copied into the case").format(name=volumeNode.GetName()))
        self._update()

    def _onBack(self) -> None:
        self._closeEditor()
        self._update()

    def _closeEditor(self) -> None:
        self.editor.close()
        self.spotlight.off()
        self._edited = None
        self._showPage(editing=False)

    def _showPage(self, editing: bool) -> None:
        self.ui.editorFrame.visible = editing
        self.ui.mainFrame.visible = not editing

    # A training

    def _onStart(self) -> None:
        if self._activity:
            self._stop(_("cancelled"))
            return
        question = _("The adapter '{name}' waits for a decision. Discard it, and train again?")
        waiting = self.logic.pending()
        if waiting and not confirmed(question.format(name=waiting.name)):
            return
        self.outcome.clear()
        self.curves.clear()
        self._showCurves()
        self._begin(TRAINING, _("starting"))
        node = self._parameterNode
        with self._failing():
            self.logic.train(
                node.base,
                task=node.task.value,
                minutes=node.minutes,
                device=node.device.value,
                name=self.ui.nameEdit.text.strip(),
                waitForCompletion=False,
                onProgress=self._onProgress,
                onDone=self._trained,
                onError=self._failed,
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
        if not self._stopReason:
            self.progress.tell(replace(news, fraction=self._fraction or None, text=text))

    def _trained(self, outcome: AdapterCandidate) -> None:
        self.curves.show()
        self._ended(_("Done in {time}: accept or discard the result").format(time=duration(self.progress.seconds)))
        self._showOutcome(outcome)
        self._update()

    def _showOutcome(self, outcome: AdapterCandidate) -> None:
        with errorsShown():
            self.outcome.show(outcome, self.logic.store)

    def _showCurves(self) -> None:
        self.ui.plotFrame.visible = True
        self.curvesView.show(self.curves.show())

    def _onAccept(self) -> None:
        with errorsShown():
            outcome = self.outcome.outcome
            doubts = outcome.card.doubts
            question = _("{doubts}.\n\n{advice}. Accept it all the same?")
            text = question.format(doubts=capitalized(doubts), advice=capitalized(ADVICE))
            if doubts and not confirmed(text):
                return
            card = self.logic.accept(outcome, anyway=bool(doubts))
            self._clearOutcome()
            self._tell(_("{name} is in the list of LLMBoost Segment").format(name=card.name))
            self.adapters.refresh()
            self.ui.adaptersButton.collapsed = False
        self._onModels()

    def _onDiscard(self) -> None:
        self.logic.discard(self.outcome.outcome)
        self._clearOutcome()
        self._tell(_("Discarded"))
        self._update()

    def _clearOutcome(self) -> None:
        self.outcome.clear()
        self.spotlight.off()

    # Other computations

    def _onShow(self) -> None:
        """The chosen case, by the base and by what was made of it."""
        outcome = self.outcome.outcome
        with errorsShown():
            case = self._store.cases.get(self.outcome.selected)
            if case is None:
                raise LLMBoostError(_("This case was removed since: choose another one"))
            volumeNode, _segmentationNode = openCase(self._store, case)
            self._compare(volumeNode, outcome.base, str(outcome.path))

    def _onCompareAdapter(self, base: str, adapter: str) -> None:
        with errorsShown():
            volumeNode = self._parameterNode.inputVolume
            if volumeNode is None:
                raise LLMBoostError(_("Choose an image in the section Cases first"))
            self._compare(volumeNode, base, adapter)

    def _compare(self, volumeNode: Any, base: str, adapted: str) -> None:
        self._begin(OTHER, _("segmenting"))
        done = _("{before} (outlines) and {after} (filled) are in the views")

        def show(before: Any, after: Any) -> None:
            if self._parameterNode is not None:  # the module was not left meanwhile
                self.spotlight.on(before, after)
            self._ended(done.format(before=before.GetName(), after=after.GetName()))

        device = self._parameterNode.device.value
        start = partial(Comparison(self.logic.client).start, volumeNode, base, adapted, device)
        self._whenLocal(lambda: start(self.progress.tell, show, self._failed))

    def _onRank(self) -> None:
        self._begin(OTHER, _("ranking"))

        def show(order: list[dict[str, Any]]) -> None:
            self.next.rank(order)
            self._ended(_("ranked: {count}").format(count=len(order)))

        with self._failing():
            arguments = {"model": self._card.name, "device": self._parameterNode.device.value}
            self.logic.rankCases(
                **arguments, waitForCompletion=False, onProgress=self.progress.tell, onDone=show, onError=self._failed
            )

    def _onLabel(self) -> None:
        """The model's segments are where the user begins."""
        case = self._store.cases[self.next.selected]
        self._begin(OTHER, _("segmenting"))
        with self._failing():
            volumeNode, segmentationNode = openCase(self._store, case)

            def show(answer: Answer) -> None:
                with self._failing():
                    labelmap, labels = answer.arrays["labelmap"], answer.fields["labels"]
                    writeSegmentation(labelmap, labels, volumeNode, segmentationNode)
                    segmentationNode.SetAttribute(CASE, case.id)
                    self._ended(_("Correct the segments, then save them to the case"))
                    self._openEditor(case)

            device = self._parameterNode.device.value
            start = partial(segmentVolume, self.logic.client, volumeNode, self._card.name, device, self.progress.tell)
            self._whenLocal(lambda: start(show, self._failed))

    def _whenLocal(self, start: Callable[[], None]) -> None:
        def guarded() -> None:
            with self._failing():
                start()

        with self._failing():
            whenLocal(self.logic.client, guarded, self._failed)

    def _onUse(self, name: str) -> None:
        """Open LLMBoost Segment with this model."""
        with errorsShown():
            slicer.util.selectModule("LLMBoostSegment")
            widget = slicer.util.getModuleWidget("LLMBoostSegment")
            widget.panel.useModel(name)

    # What goes on

    def _begin(self, activity: str, text: str) -> None:
        self._activity, self._stopReason, self._fraction = activity, "", 0.0
        self.ui.finishButton.enabled = True
        self.progress.start(text)
        self._update()

    def _stop(self, reason: str) -> None:
        if self._activity:
            self._stopReason = self._stopReason or reason
            self.progress.say(_("cancelling"))
            self.logic.client.cancel()

    def _failed(self, error: Exception) -> None:
        if isinstance(error, WorkerError) and error.kind == "cancelled":
            self._ended(capitalized(self._stopReason or _("cancelled")))
            return
        self._ended(sentence(error).split("\n")[0], PROBLEM_STYLE)
        showError(error)

    def _ended(self, text: str, style: str = "") -> None:
        self._activity = ""
        self.progress.stop(text, style)
        self._update()

    def _tell(self, text: str) -> None:
        if not self._activity:
            self.progress.stop(text)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """What goes wrong in this block ends what goes on."""
        try:
            yield
        except Exception as error:
            self._failed(error)


def _canBeBase(card: Card) -> bool:
    return card.task == SEGMENTATION and card.preprocessing.channels == 1 and card.adapter is None


@contextmanager
def _busyDialog(text: str) -> Iterator[Callable[[int, int], bool]]:
    """A window with progress, which can be cancelled."""
    dialog = slicer.util.createProgressDialog(labelText=text, windowTitle=TITLE)

    def onCase(number: int, count: int) -> bool:
        dialog.maximum = count
        dialog.value = number
        slicer.app.processEvents()
        return not dialog.wasCanceled

    try:
        yield onCase
    finally:
        dialog.close()
