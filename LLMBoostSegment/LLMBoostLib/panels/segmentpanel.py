"""The panel: one parameter node, one run at a time, and what the user is told about both."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from llmboost.card import Card
from llmboost.card.tiles import can_be_faster, faster
from llmboost.errors import LLMBoostError

from ..scene import fit, samples
from ..scene.classification import Classification
from ..scene.display import showVolume
from ..scene.explanation import Explanation
from ..scene.frames import framesOf
from ..scene.result import Result
from ..scene.segmentinput import SegmentInput
from ..training.casestore import CaseStore
from ..training.snapshot import addCases
from ..worker.consent import hint, needsEnvironment, whenReady
from . import advanced, explainview, inputview, modelimport, modulepanel, reportview, resultview, speed
from .advanced import Advanced
from .errordisplay import PROBLEM_STYLE, WARNING_STYLE, errorsShown, sentence
from .explainview import ExplainView
from .inputview import MAX_CHANNELS, InputView, classifies
from .modelcard import describe
from .modelchooser import ModelChooser
from .modelimport import ModelImport
from .modulepanel import ModulePanel
from .plaintext import confirmed, tip
from .reportview import ReportView
from .resultview import ResultView
from .run import Work

# what about a node that the panel shows may change without the parameter node's knowledge
_EVENTS = (
    vtk.vtkCommand.ModifiedEvent,
    slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent,
    slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
    slicer.vtkMRMLMarkupsNode.PointModifiedEvent,
)


class Widgets(
    advanced.Widgets,
    explainview.Widgets,
    inputview.Widgets,
    modelimport.Widgets,
    modulepanel.Widgets,
    reportview.Widgets,
    resultview.Widgets,
    Protocol,
):
    """All of LLMBoostSegment.ui, by name."""

    applyButton: qt.QPushButton
    backButton: qt.QPushButton
    explanationBox: qt.QCheckBox
    fastBox: qt.QCheckBox
    fitLabel: qt.QLabel
    modelDetails: qt.QLabel
    modelList: qt.QListWidget
    outputLabel: qt.QLabel
    outputSelector: slicer.qMRMLNodeComboBox
    revertButton: qt.QPushButton
    roiSelector: slicer.qMRMLNodeComboBox
    searchEdit: qt.QLineEdit
    uncertaintyBox: qt.QCheckBox


class Panel(ModulePanel):
    """Wires the widgets of LLMBoostSegment.ui to the logic.

    Args:
        ui: the widgets by name.
        logic: a LLMBoostSegmentLogic.
    """

    def __init__(self, ui: Widgets, logic: Any) -> None:
        super().__init__(ui, logic, qt.QTimer.singleShot)
        self.ui, self.logic = ui, logic
        self._watched: list[Any] = []
        self._problem = ""  # why there can be no result
        self._extent: list[float] | None = None  # of an image to segment, in mm along the axes that the model goes by
        self._hint = ""  # shown in the status line
        self.results = ResultView(ui, logic)
        self.explanations = ExplainView(ui, self.run)
        self.inputs = InputView(ui)
        self.chooser = ModelChooser(ui.searchEdit, ui.modelList, self._onModel)
        self.advanced = Advanced(ui, logic.client, self.run, self._onWorker)
        self.imports = ModelImport(ui, logic.client, self.chooser, self.run, self.runner, self.progress, self._onModels)
        self.run.observe(self._showApply)
        done = self._beginOrStop, self._callbacks, self._endedWith
        self.reports = ReportView(ui, logic, self.results, self.run, *done)
        ui.applyButton.connect("clicked()", self._onApply)
        ui.explainButton.connect("clicked()", self._onExplain)
        ui.anywayButton.connect("clicked()", self._onAnyway)
        ui.revertButton.connect("clicked()", self._onRevert)
        ui.editButton.connect("clicked()", self._onEdit)
        ui.addCaseButton.connect("clicked()", self._onAddCase)
        ui.backButton.connect("clicked()", self._onBack)
        ui.roiSelector.connect("nodeAddedByUser(vtkMRMLNode*)", self._onNewRoi)
        ui.tryButton.connect("clicked()", self._onTry)
        ui.searchEdit.connect("textChanged(QString)", lambda _text: self.update())
        self.addObserver(slicer.mrmlScene, slicer.vtkMRMLScene.NodeRemovedEvent, self._onNodeRemoved)

    # The module's life

    def setParameterNode(self, parameterNode: Any) -> None:
        super().setParameterNode(None)
        self.inputs.setParameterNode(parameterNode)
        self._watch([])
        super().setParameterNode(parameterNode)

    def refresh(self) -> None:
        """Look into the library again."""
        self.chooser.refresh()
        self.update()

    def enter(self) -> None:
        if not self.run.active:
            self._showHint()
        super().enter()

    def log(self, text: str) -> None:
        self.advanced.say(text)

    def useModel(self, name: str) -> None:
        """Choose a model, as another module asks for; one that was added just now is in the list, too."""
        self.chooser.refresh()
        self._onModel(name)

    def forgetScene(self) -> None:
        """The scene is about to be closed: stop what goes on, let go of all nodes."""
        if self.run.does(Work.IMAGE):
            self.runner.stop(_("cancelled, for the scene was closed"))
        self.setParameterNode(None)
        self._forgetResult()
        self.logic.forget()
        if not self.run.active:  # what was done was done in that scene
            self.tell("")
            self._hint = ""
            self._showHint()

    def shutDown(self) -> None:
        super().shutDown()
        self.advanced.shutDown()
        self.results.clear()  # and give the views back
        self.explanations.clear()

    # Parameters

    @property
    def _card(self) -> Card | None:
        return self.chooser.current.card if self.chooser.current else None

    def update(self) -> None:
        """Show what follows from the parameters, and from the nodes that they name."""
        node = self.parameterNode
        if node is None:
            return
        if self.chooser.current is None or self.chooser.current.name != node.model:
            self.chooser.choose(node.model)
        inputs = self.inputs.inputs(self._card)
        self._watch([*inputs, node.roi, node.outputSegmentation])
        self._problem, notes = self._examine(node, inputs)
        segments = not (self._problem or isinstance(inputs[0], SegmentInput) or classifies(self._card))
        self._extent = fit.coveredMm(self._card, inputs[0], node.roi).tolist() if segments and self._card else None
        everyFrame = self.inputs.show(self._card, inputs, usable=not self._problem)
        self._showFit(notes, hidden=inputs[0] is None)
        self._showOutput(everyFrame)
        text = describe(
            self.chooser.current, self._expectedSeconds(inputs), self._expectedMemory(inputs[0]), self.chooser.words
        )
        if text != self.ui.modelDetails.text:
            self.ui.modelDetails.text = text
        self._showApply()
        for part in (self.advanced, self.imports, self.reports):
            part.refresh()

    def _examine(self, node: Any, inputs: list[Any]) -> tuple[str, list[str]]:
        """Why there can be no result (empty: nothing is in the way), and what speaks against a good one."""
        entry, card = self.chooser.current, self._card
        if entry is None:
            if node.model:
                text = _("The model '{name}' is not installed here: choose another, or import it")
                return text.format(name=node.model), []
            return _("Choose a model"), []
        if card is None:
            return _("The model's file is damaged: choose another, or remove it"), []
        if card.preprocessing.channels > MAX_CHANNELS:
            return _("The model takes more images than this panel has room for: use the logic from Python"), []
        try:
            fit.check(card, inputs, node.roi)
        except LLMBoostError as error:
            return sentence(error), []
        return "", [
            *fit.concerns(card, inputs, node.roi),
            *fit.replaced(card, node.outputSegmentation, inputs[0], node.roi),
        ]

    def _expectedSeconds(self, inputs: list[Any]) -> float | None:
        node, card = self.parameterNode, self._card
        if card is None or self._extent is None:
            return None
        one = speed.expected(faster(card) if _isFast(node, card) else card, node.device.value, self._extent)
        return None if one is None else one * _frameCount(node, inputs)

    def _expectedMemory(self, volumeNode: Any) -> float | None:
        card = self._card
        if card is None or self._extent is None:
            return None
        return fit.memoryNeeded(card, volumeNode, self.parameterNode.roi)

    def _showOutput(self, everyFrame: bool) -> None:
        """What a segmentation makes, or a classification."""
        ui, isClassifier = self.ui, classifies(self._card)
        for widget in (ui.outputLabel, ui.outputSelector, ui.uncertaintyBox, ui.fastBox):
            widget.visible = not isClassifier
        ui.fastBox.enabled = self._card is not None and can_be_faster(self._card)
        ui.uncertaintyBox.enabled = ui.explanationBox.enabled = not everyFrame

    def _showFit(self, notes: list[str], hidden: bool) -> None:
        label = self.ui.fitLabel
        label.text = self._problem or "\n".join(notes)
        label.setStyleSheet(PROBLEM_STYLE if self._problem else WARNING_STYLE)
        label.visible = bool(label.text) and not hidden

    def _showApply(self) -> None:
        button, run = self.ui.applyButton, self.run
        running = run.does(Work.IMAGE)
        button.text = _("&Cancel") if running else _("Cl&assify") if classifies(self._card) else _("&Apply")
        button.enabled = not run.resting and (running or not (self._problem or run.active))
        what = _("Classify the image") if classifies(self._card) else _("Segment the image")
        stop = _("Stop the computation; the scene stays as it is")
        button.toolTip = tip(stop if running else self._problem or what)
        self.ui.anywayButton.enabled = not (run.resting or run.active)

    def _watch(self, nodes: list[Any]) -> None:
        """Look at the parameters again when one of these nodes changes."""
        nodes = [node for node in dict.fromkeys(nodes) if isinstance(node, slicer.vtkMRMLNode)]
        if nodes == self._watched:
            return
        for node in self._watched:
            for event in _EVENTS:
                self.removeObserver(node, event, self.onModified)
        for node in nodes:
            for event in _EVENTS:
                self.addObserver(node, event, self.onModified)
        self._watched = nodes

    def _onModel(self, name: str) -> None:
        if self.parameterNode is not None:
            self.parameterNode.model = name
            self.update()

    def _onModels(self) -> None:
        """Models came or went."""
        if self.chooser.current:
            self._onModel(self.chooser.current.name)
        self.update()

    def _onTry(self) -> None:
        """An image for those who have none at hand."""
        with errorsShown():
            node = samples.makePhantomVolume()
            slicer.util.setSliceViewerLayers(background=node, fit=True)
            self.parameterNode.inputVolume = node

    def _onNewRoi(self, roiNode: Any) -> None:
        self.inputs.placeRoi(roiNode, self._card, self.inputs.inputs(self._card)[0])

    # A run

    def _onApply(self) -> None:
        # what is asked is settled now: the module may be left before the worker is there
        asked = self.parameterNode, self._card, self.inputs.inputs(self._card)
        self._beginOrStop(partial(self._process, *asked))

    def _onExplain(self) -> None:
        self._beginOrStop(self._explain)

    def _onAnyway(self) -> None:
        """The answer for an image that the model refused."""
        self._beginOrStop(self._classifyAnyway)

    def _beginOrStop(self, compute: Callable[[], None]) -> None:
        """A run: ``compute`` is called once all questions are answered. If one goes on, the button ends it."""
        if self.run.active:
            self.runner.stop(_("cancelled"))
        elif needsEnvironment():
            self.advanced.provideEnvironment()
        else:
            start = partial(whenReady, self.logic.client, compute, self.runner.failed)
            self.runner.begin(Work.IMAGE, _("starting"), start)

    def _process(self, node: Any, card: Card | None, inputs: list[Any]) -> None:
        """Segment, or classify."""
        if self._problem or card is None:
            raise LLMBoostError(self._problem)
        frames = framesOf(inputs[0]) if node.allFrames and not classifies(card) else None
        asked = {"model": card.name, "roiNode": node.roi, "device": node.device.value}
        clock, isFast = None, _isFast(node, card)
        if self._extent:
            count, isWarm = _frameCount(node, inputs), self.logic.client.ready
            taken = faster(card) if isFast else card
            clock = speed.Clock(taken, node.device.value, self._extent, count, isWarm)
        callbacks = self._callbacks(partial(self._done, clock))
        self.run.go([*(getattr(each, "segmentationNode", each) for each in inputs), *(frames or ())])
        explain = self.explanations.first if node.explanation else None
        if classifies(card):
            slice = self.inputs.slice(card, inputs, node.sliceView)
            self.logic.classify(inputs, **asked, slice=slice, explain=explain, **callbacks)
        elif frames:
            self.logic.processFrames(inputs[0], **asked, fast=isFast, **callbacks)
        else:
            output = {"segmentationNode": node.outputSegmentation, "uncertainty": node.uncertainty}
            output["fast"] = isFast
            self.logic.process(inputs, **asked, **output, explain=explain, **callbacks)

    def _classifyAnyway(self) -> None:
        """Ask again what was refused."""
        asked = self.logic.asked
        asked.check()
        self.run.go(asked.nodes)
        callbacks = self._callbacks(partial(self._done, None))
        self.logic.classify(asked.inputs, **{**asked.arguments, "anyway": True}, **callbacks)

    def _callbacks(self, onDone: Callable[[Any], None]) -> dict[str, Any]:
        """Further arguments of the logic, for a run in the background."""
        return {
            "waitForCompletion": False,
            "onProgress": self.progress.tell,
            "onDone": onDone,
            "onError": self.runner.failed,
        }

    def _explain(self) -> None:
        """Explain the result, as it was asked for."""
        asked, what = self.logic.asked, self.explanations.what
        asked.check()
        self.run.go([*asked.nodes, *self.logic.result.nodes])
        self.logic.explain(
            asked.inputs,
            **asked.arguments,
            target=what.target,
            method=what.method,
            layer=what.layer,
            **self._callbacks(self._explained),
        )

    def _done(self, clock: speed.Clock | None, result: Result | Classification) -> None:
        if clock:
            clock.stop(result.seconds)
        self._endedWith(result.name)
        showVolume(result.volumeNode)
        self.results.show(result)
        self.explanations.offer(result.targets)
        self.update()
        if result.explanation:
            self.explanations.add(result.explanation)

    def _explained(self, made: Explanation) -> None:
        self._endedWith(made.mapNode.GetName())
        self.explanations.add(made)

    def _endedWith(self, name: str) -> None:
        self.runner.ended(_("Done in {time}: {name}").format(time=speed.duration(self.progress.seconds), name=name))

    def _onWorker(self) -> None:
        """Another worker, or what it runs in, may be there."""
        self.update()
        self._showHint()

    # The result

    def _onRevert(self) -> None:
        question = _("The segments may have been edited since. Revert takes edits back, too. Go on?")
        if self.results.edited and not confirmed(question):
            return
        self.explanations.remove()
        self._forgetResult()
        with errorsShown():
            self.logic.revert()
            self.tell(_("Reverted"))
        self.update()

    def _onEdit(self) -> None:
        with errorsShown():
            result = self.results.segments
            self.editor.open(result.segmentationNode, result.volumeNode)

    def _onAddCase(self) -> None:
        """The image, and its segments as they are now, are something to learn from for LLMBoost Train."""
        with errorsShown():
            store, result = CaseStore(), self.results.segments
            cases = addCases(store, result.volumeNode, result.segmentationNode)
            text = _("Added to the cases of LLMBoost Train ({count} in all)")
            if len(cases) > 1:
                text = _("Added to the cases of LLMBoost Train as {crops} crops, a side each ({count} in all)")
            self.tell(text.format(crops=len(cases), count=len(store.cases)))

    def _onBack(self) -> None:
        self.editor.close()
        self.results.refresh()

    def _forgetResult(self) -> None:
        """It is shown no more; the logic still knows it, to take it back."""
        self.editor.close()
        self.results.clear()
        self.explanations.clear()

    @vtk.calldata_type(vtk.VTK_OBJECT)  # type: ignore[untyped-decorator]
    def _onNodeRemoved(self, _caller: Any, _event: str, node: Any) -> None:
        if self.run.needs(node):
            self.runner.stop(_("cancelled, for {name} was removed from the scene").format(name=node.GetName()))
        if self.results.uses(node):
            self._forgetResult()
            self.logic.forget()
        self.results.forgetMap(node)
        self.explanations.forgetNode(node)
        if self.logic.asked and node in self.logic.asked.nodes:
            self.explanations.clear()  # and no more can be made

    def _showHint(self) -> None:
        """What there is to know before the next click on Apply; the last run's outcome stays."""
        text = hint()
        if text or self.ui.statusLabel.text == self._hint:
            self.progress.stop(text)
            self._hint = text


def _frameCount(parameterNode: Any, inputs: list[Any]) -> int:
    """How many images are segmented, one after the other."""
    found = framesOf(inputs[0]) if parameterNode.allFrames else None
    return found[1].GetNumberOfDataNodes() if found else 1


def _isFast(parameterNode: Any, card: Card) -> bool:
    """Whether the run takes a larger step from patch to patch."""
    return bool(parameterNode.fast) and can_be_faster(card)
