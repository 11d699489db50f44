"""The panel: one parameter node, one run at a time, and what the user is told about both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from llmboost.card import Card
from llmboost.errors import LLMBoostError

from ..scene import fit, samples
from ..scene.classification import Classification
from ..scene.display import Spotlight, showVolume
from ..scene.explanation import Explanation
from ..scene.frames import framesOf
from ..scene.result import Result
from ..scene.segmentinput import SegmentInput
from ..training.casestore import CaseStore
from ..training.snapshot import addCases
from ..worker.client import WorkerError
from ..worker.consent import hint, needsEnvironment, whenReady
from . import speed
from .advanced import Advanced
from .editorview import EditorView
from .errordisplay import NOTICE_STYLE, PROBLEM_STYLE, WARNING_STYLE, capitalized, errorsShown, sentence, showError
from .explainview import ExplainView
from .inputview import MAX_CHANNELS, InputView, classifies
from .modelchooser import ModelChooser, describe
from .plaintext import confirmed, tip
from .progressview import ProgressView
from .question import Question
from .resultview import ResultView

APPLY_REST_MS = 600  # in which the second click of a double click would cancel what the first one began

# what about a node that the panel shows may change without the parameter node's knowledge
_EVENTS = (
    vtk.vtkCommand.ModifiedEvent,
    slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent,
    slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
    slicer.vtkMRMLMarkupsNode.PointModifiedEvent,
)


class Panel(VTKObservationMixin):
    """Wires the widgets of LLMBoostSegment.ui to the logic.

    Args:
        ui: the widgets by name.
        logic: a LLMBoostSegmentLogic.
    """

    def __init__(self, ui: Any, logic: Any) -> None:
        super().__init__()
        self.ui, self.logic = ui, logic
        self._parameterNode: Any = None
        self._guiTag: int | None = None
        self._watched: list[Any] = []
        self._runNodes: list[Any] = []  # without which the run that goes on is of no use
        self._running = self._busy = False
        self._stopReason = ""  # why the run was stopped, empty while it may go on
        self._question: Question | None = None  # what the result answers
        self._hint = ""  # shown in the status line
        ui.noticeLabel.setStyleSheet(NOTICE_STYLE)
        self.progress = ProgressView(ui.progressBar, ui.statusLabel)
        self.results = ResultView(ui)
        self.explanations = ExplainView(ui)
        self.inputs = InputView(ui)
        self.editor = EditorView(ui.editorFrame)
        self.spotlight = Spotlight()
        self.chooser = ModelChooser(ui.searchEdit, ui.modelList, self._onModel)
        self.advanced = Advanced(ui, logic.client, self.chooser, self._onModels, self._onBusy)
        self._rest = self._makeRest()
        ui.applyButton.connect("clicked()", self._onApply)
        ui.explainButton.connect("clicked()", self._onExplain)
        ui.anywayButton.connect("clicked()", self._onAnyway)
        ui.revertButton.connect("clicked()", self._onRevert)
        ui.editButton.connect("clicked()", self._onEdit)
        ui.addCaseButton.connect("clicked()", self._onAddCase)
        ui.backButton.connect("clicked()", self._onBack)
        ui.framesBox.connect("activated(int)", self._onFrames)
        ui.segmentSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._onSegment)
        ui.segmentSelector.connect("currentSegmentChanged(QString)", self._onSegment)
        ui.roiSelector.connect("nodeAddedByUser(vtkMRMLNode*)", self._onNewRoi)
        ui.tryButton.connect("clicked()", self._onTry)
        self.addObserver(slicer.mrmlScene, slicer.vtkMRMLScene.NodeRemovedEvent, self._onNodeRemoved)
        self._showPage(editing=False)

    # The module's life

    def setParameterNode(self, parameterNode: Any) -> None:
        """Show and change this node's parameters; None: no node's, as when the module is left."""
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._update)
        self._parameterNode = parameterNode
        if parameterNode is None:
            self._watch([])
            return
        self._guiTag = parameterNode.connectGui(self.ui)
        self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self._update)
        self.chooser.refresh()
        self._update()

    def enter(self) -> None:
        if not self._running:
            self._showHint()
        if self.ui.editorFrame.visible:
            self.editor.resume()
            self.spotlight.on(self.results.result.segmentationNode)

    def exit(self) -> None:
        self.editor.pause()
        self.spotlight.off()

    def useModel(self, name: str) -> None:
        """Choose a model, as another module asks for; one that was added just now is in the list, too."""
        self.chooser.refresh()
        self._onModel(name)

    def forgetScene(self) -> None:
        """The scene is about to be closed: stop what goes on, let go of all nodes."""
        self._stop(_("cancelled, for the scene was closed"))
        self.setParameterNode(None)
        self._forgetResult()
        if not self._running:  # what was done was done in that scene
            self._tell("")
            self._hint = ""
            self._showHint()

    def shutDown(self) -> None:
        """The module is reloaded, or Slicer ends."""
        self._stop(_("cancelled"))
        self.logic.client.shutDown()
        self.advanced.shutDown()
        self.setParameterNode(None)
        self.results.clear()  # and give the views back
        self.explanations.clear()
        self._closeEditor()
        self.removeObservers()

    # Parameters

    @property
    def _card(self) -> Card | None:
        return self.chooser.current.card if self.chooser.current else None

    def _inputs(self, node: Any) -> list[Any]:
        return self.inputs.inputs(node, self._card)

    def _update(self, _caller: Any = None, _event: Any = None) -> None:
        """Show what follows from the parameters."""
        node = self._parameterNode
        if node is None:
            return
        if self.chooser.current is None or self.chooser.current.name != node.model:
            self.chooser.choose(node.model)
        inputs = self._inputs(node)
        self._watch([*inputs, node.roi, node.outputSegmentation])
        problem, notes = self._examine(node, inputs)
        everyFrame = self.inputs.show(node, self._card, inputs, usable=not problem)
        self._showFit(problem, notes, hidden=inputs[0] is None)
        self._showOutput(everyFrame)
        text = describe(self.chooser.current, self._expectedSeconds(inputs, problem))
        if text != self.ui.modelDetails.text:
            self.ui.modelDetails.text = text
        self._showApply(problem)
        self.advanced.setRunning(self._running)

    def _examine(self, node: Any, inputs: list[Any]) -> tuple[str, list[str]]:
        """Why there can be no result (empty: nothing is in the way), and what speaks against a good one."""
        entry, card = self.chooser.current, self._card
        if entry is None:
            if node.model:
                text = _("The model '{name}' is not installed here: choose another, or import it under Advanced")
                return text.format(name=node.model), []
            return _("Choose a model"), []
        if card is None:
            return _("The model's file is damaged: choose another, or remove it under Advanced"), []
        if card.preprocessing.channels > MAX_CHANNELS:
            return _("The model takes more images than this panel has room for: use the logic from Python"), []
        try:
            fit.check(card, inputs, node.roi)
        except LLMBoostError as error:
            return sentence(error), []
        return "", [*fit.concerns(card, inputs, node.roi), *_replaced(card, node, inputs[0])]

    def _expectedSeconds(self, inputs: list[Any], problem: str) -> float | None:
        if problem or isinstance(inputs[0], SegmentInput) or classifies(self._card):
            return None
        node = self._parameterNode
        found = framesOf(inputs[0]) if node.allFrames else None
        one = speed.expected(self._card, node.device.value, fit.extentMm(inputs[0], node.roi))
        return None if one is None else one * (found[1].GetNumberOfDataNodes() if found else 1)

    def _showOutput(self, everyFrame: bool) -> None:
        """What a segmentation makes, or a classification."""
        ui, isClassifier = self.ui, classifies(self._card)
        for widget in (ui.outputLabel, ui.outputSelector, ui.uncertaintyBox):
            widget.visible = not isClassifier
        ui.uncertaintyBox.enabled = ui.explanationBox.enabled = not everyFrame

    def _showFit(self, problem: str, notes: list[str], hidden: bool) -> None:
        label = self.ui.fitLabel
        label.text = problem or "\n".join(notes)
        label.setStyleSheet(PROBLEM_STYLE if problem else WARNING_STYLE)
        label.visible = bool(label.text) and not hidden

    def _showApply(self, problem: str) -> None:
        button = self.ui.applyButton
        button.text = _("&Cancel") if self._running else _("Cl&assify") if classifies(self._card) else _("&Apply")
        button.enabled = not self._rest.active and (self._running or not (problem or self._busy))
        what = _("Classify the image") if classifies(self._card) else _("Segment the image")
        stop = _("Stop the computation; the scene stays as it is")
        button.toolTip = tip(stop if self._running else problem or what)
        ready = not (self._busy or self._rest.active)
        self.explanations.setRunning(self._running, ready)
        self.ui.anywayButton.enabled = ready and not self._running

    def _watch(self, nodes: list[Any]) -> None:
        """Look at the parameters again when one of these nodes changes."""
        nodes = [node for node in dict.fromkeys(nodes) if isinstance(node, slicer.vtkMRMLNode)]
        if nodes == self._watched:
            return
        for node in self._watched:
            for event in _EVENTS:
                self.removeObserver(node, event, self._update)
        for node in nodes:
            for event in _EVENTS:
                self.addObserver(node, event, self._update)
        self._watched = nodes

    def _onModel(self, name: str) -> None:
        if self._parameterNode is not None:
            self._parameterNode.model = name
            self._update()

    def _onModels(self) -> None:
        """Models came or went."""
        if self.chooser.current:
            self._onModel(self.chooser.current.name)
        self._update()

    def _onFrames(self, index: int) -> None:
        self._parameterNode.allFrames = bool(index)

    def _onSegment(self, _changed: Any) -> None:
        self._update()

    def _onTry(self) -> None:
        """An image for those who have none at hand."""
        with errorsShown():
            node = samples.makePhantomVolume()
            slicer.util.setSliceViewerLayers(background=node, fit=True)
            self._parameterNode.inputVolume = node

    def _onNewRoi(self, roiNode: Any) -> None:
        self.inputs.placeRoi(roiNode, self._card, self._inputs(self._parameterNode)[0])

    # A run

    def _onApply(self) -> None:
        if self._running:
            self._stop(_("cancelled"))
        else:
            self._begin(partial(self._process, self._parameterNode))

    def _onExplain(self) -> None:
        if self._running:
            self._stop(_("cancelled"))
        else:
            self._begin(self._explain)

    def _onAnyway(self) -> None:
        """The answer for an image that the model refused."""
        self._begin(self._classifyAnyway)

    def _begin(self, compute: Callable[[], None]) -> None:
        """A run: ``compute`` is called once all questions are answered."""
        if needsEnvironment():
            self.advanced.provideEnvironment()
            return
        self._stopReason = ""
        self._rest.start()
        self._setRunning(True)
        self.progress.start(_("starting"))

        def start() -> None:
            if self._stopReason:  # meanwhile
                self._failed(WorkerError("cancelled", self._stopReason))
                return
            with self._failing():
                compute()

        with self._failing():
            whenReady(self.logic.client, start, self._failed)

    def _process(self, node: Any) -> None:
        """Segment, or classify."""
        inputs, card, roi, device = self._inputs(node), self._card, node.roi, node.device.value
        problem, _notes = self._examine(node, inputs)
        if problem:
            raise LLMBoostError(problem)
        isSegment = isinstance(inputs[0], SegmentInput)
        extent = None if isSegment or classifies(self._card) else fit.extentMm(inputs[0], roi)
        slice = self.inputs.slice(card, inputs)
        question = Question(inputs, {"model": card.name, "roiNode": roi, "device": device, **slice})
        frames = framesOf(inputs[0]) if node.allFrames and not classifies(self._card) else None
        clock = _Clock(extent, frames[1].GetNumberOfDataNodes() if frames else 1, self.logic.client.ready)
        callbacks = self._callbacks(partial(self._done, card, question, clock, node.explanation))
        self._runNodes = question.nodes
        if classifies(self._card):
            self.logic.classify(inputs, **question.arguments, **callbacks)
        elif frames:
            self._runNodes += frames
            self.logic.processFrames(inputs[0], **question.arguments, **callbacks)
        else:
            output = {"segmentationNode": node.outputSegmentation, "uncertainty": node.uncertainty}
            self.logic.process(inputs, **question.arguments, **output, **callbacks)

    def _classifyAnyway(self) -> None:
        """Ask again what was refused."""
        asked = self._question
        asked.check()
        question = Question(asked.inputs, {**asked.arguments, "anyway": True})
        self._runNodes = question.nodes
        done = partial(self._done, self._card, question, _Clock(None), False)
        self.logic.classify(question.inputs, **question.arguments, **self._callbacks(done))

    def _callbacks(self, onDone: Callable[[Any], None]) -> dict[str, Any]:
        """Further arguments of the logic, for a run in the background."""
        return {
            "waitForCompletion": False,
            "onProgress": self.progress.tell,
            "onDone": onDone,
            "onError": self._failed,
        }

    def _explain(self) -> None:
        """Explain the result, as it was asked for."""
        question, what = self._question, self.explanations.what
        question.check()
        self._runNodes = [*question.nodes, *self.results.result.nodes]
        self.logic.explain(
            question.inputs,
            **question.arguments,
            target=what.target,
            method=what.method,
            layer=what.layer,
            **self._callbacks(self._explained),
        )

    def _stop(self, reason: str) -> None:
        if self._running:
            self._stopReason = self._stopReason or reason
            self.progress.say(_("cancelling"))
            self.logic.client.cancel()

    def _done(
        self, card: Card, question: Question, clock: _Clock, explains: bool, result: Result | Classification
    ) -> None:
        clock.stop(card, question.arguments["device"], result.seconds)
        self._endedWith(result.name)
        self._question = question
        showVolume(result.volumeNode)
        self.results.show(result)
        self.explanations.offer(result.targets)
        self._update()
        if explains and result.targets:
            self._begin(self._explain)

    def _explained(self, made: Explanation) -> None:
        self._endedWith(made.mapNode.GetName())
        self.explanations.add(made)
        self._update()

    def _failed(self, error: Exception) -> None:
        if isinstance(error, WorkerError):
            if error.kind == "cancelled":
                self._ended(capitalized(self._stopReason or _("cancelled")))
                return
            self.advanced.lastError = error
        self._ended(sentence(error).split("\n")[0], PROBLEM_STYLE)
        showError(error)

    def _endedWith(self, name: str) -> None:
        self._ended(_("Done in {time}: {name}").format(time=speed.duration(self.progress.seconds), name=name))

    def _ended(self, text: str, style: str = "") -> None:
        self._runNodes = []
        self.progress.stop(text, style)
        self.advanced.say(text)
        self._setRunning(False)

    def _setRunning(self, running: bool) -> None:
        self._running = running
        self._update()
        self.advanced.setRunning(running)

    def _onBusy(self, busy: bool) -> None:
        """Something else keeps the worker, or its environment, busy."""
        self._busy = busy
        self._update()
        self._showHint()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """What goes wrong in this block ends the run."""
        try:
            yield
        except Exception as error:
            self._failed(error)

    def _makeRest(self) -> Any:
        timer = qt.QTimer()
        timer.setSingleShot(True)
        timer.setInterval(APPLY_REST_MS)
        timer.connect("timeout()", self._update)
        return timer

    # The result

    def _onRevert(self) -> None:
        question = _("The segments may have been edited since. Revert takes edits back, too. Go on?")
        if self.results.edited and not confirmed(question):
            return
        self.explanations.remove()
        self._forgetResult(keepUndo=True)
        with errorsShown():
            self.logic.revert()
            self._tell(_("Reverted"))
        self._update()

    def _onEdit(self) -> None:
        with errorsShown():
            result = self.results.result
            showVolume(result.volumeNode)
            self.editor.open(result.segmentationNode, result.volumeNode)
            self.spotlight.on(result.segmentationNode)
            self._showPage(editing=True)

    def _onAddCase(self) -> None:
        """The image, and its segments as they are now, are something to learn from for LLMBoost Train."""
        with errorsShown():
            store, result = CaseStore(), self.results.result
            cases = addCases(store, result.volumeNode, result.segmentationNode)
            text = _("Added to the cases of LLMBoost Train ({count} in all)")
            if len(cases) > 1:
                text = _("Added to the cases of LLMBoost Train as {crops} crops, a side each ({count} in all)")
            self._tell(text.format(crops=len(cases), count=len(store.cases)))

    def _onBack(self) -> None:
        self._closeEditor()
        self.results.refresh()

    def _closeEditor(self) -> None:
        self.editor.close()
        self.spotlight.off()
        self._showPage(editing=False)

    def _showPage(self, editing: bool) -> None:
        self.ui.editorFrame.visible = editing
        self.ui.mainFrame.visible = not editing

    def _forgetResult(self, keepUndo: bool = False) -> None:
        self._closeEditor()
        self.results.clear()
        self.explanations.clear()
        self._question = None
        if not keepUndo:
            self.logic.result = None

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, _caller: Any, _event: str, node: Any) -> None:
        if any(node is each for each in self._runNodes):
            self._stop(_("cancelled, for {name} was removed from the scene").format(name=node.GetName()))
        if self.results.uses(node):
            self._forgetResult()
        self.results.forgetMap(node)
        self.explanations.forgetNode(node)
        if self._question and node in self._question.nodes:
            self.explanations.clear()  # and no more can be made

    def _showHint(self) -> None:
        """What there is to know before the next click on Apply; the last run's outcome stays."""
        text = hint()
        if text or self.ui.statusLabel.text == self._hint:
            self.progress.stop(text)
            self._hint = text

    def _tell(self, text: str) -> None:
        self.progress.stop(text)
        self.advanced.say(text)


class _Clock:
    """Tells how long the next run will take, by this one.

    Args:
        extent: of the image, mm along R, A and S; None where no time is told.
        count: of images, one after the other.
        isWarm: the worker runs already; else its start counts for nothing that the next run takes.
    """

    def __init__(self, extent: Any, count: int = 1, isWarm: bool = False) -> None:
        self._extent, self._count, self._isWarm = extent, count, isWarm
        self._started = time.monotonic()

    def stop(self, card: Card, device: str, seconds: float) -> None:
        """The result is there, for which the engine took so many seconds."""
        if self._extent is not None:
            beside = max(time.monotonic() - self._started - seconds, 0.0) if self._isWarm else 0.0
            speed.remember(card, device, self._extent, seconds / self._count, beside / self._count)


def _replaced(card: Card, parameterNode: Any, image: Any) -> list[str]:
    """What a user should know about the output that was chosen."""
    segmentationNode = parameterNode.outputSegmentation
    if segmentationNode is None or classifies(card):
        return []
    notes = []
    segmentation, name = segmentationNode.GetSegmentation(), segmentationNode.GetName()
    sided = not isinstance(image, SegmentInput) and card.needs_cascade(fit.extentMm(image, parameterNode.roi))
    labels = card.sided_labels if sided else card.labels
    present = [label.name for label in labels if segmentation.GetSegmentIdBySegmentName(label.name)]
    if present:
        text = _("Replaces {segments} in {name}; Revert brings them back.")
        notes.append(text.format(segments=", ".join(present), name=name))
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    reference = segmentationNode.GetNodeReference(role)
    if reference is not None and reference is not image:
        text = _("{name} belongs to another image, {image}.")
        notes.append(text.format(name=name, image=reference.GetName()))
    return notes
