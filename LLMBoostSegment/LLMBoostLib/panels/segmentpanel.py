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

from ..scene import fit
from ..scene.classification import Classification
from ..scene.display import showVolume
from ..scene.explanation import Explanation
from ..scene.frames import frameCount, framesOf
from ..scene.result import Result
from ..scene.segmentinput import SegmentInput
from ..worker.consent import hint, needsEnvironment, whenReady
from . import (
    advanced,
    choiceview,
    explainview,
    inputview,
    loop,
    modelimport,
    modulepanel,
    reportview,
    resultview,
    speed,
    welcome,
)
from .advanced import Advanced
from .choiceview import ChoiceView
from .errordisplay import WARNING_STYLE
from .examining import examine
from .explainview import ExplainView
from .inputview import InputView, classifies
from .loop import Loop
from .modelcard import describe, inShort
from .modelchooser import ModelChooser
from .modelimport import ModelImport
from .modulepanel import ModulePanel
from .reportview import ReportView
from .resultview import ResultView
from .run import Work
from .welcome import Welcome

# what about a node that the panel shows may change without the parameter node's knowledge
_EVENTS = (
    vtk.vtkCommand.ModifiedEvent,
    slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent,
    slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
    slicer.vtkMRMLMarkupsNode.PointModifiedEvent,
)


class Widgets(
    advanced.Widgets,
    choiceview.Widgets,
    explainview.Widgets,
    inputview.Widgets,
    loop.Widgets,
    modelimport.Widgets,
    modulepanel.Widgets,
    reportview.Widgets,
    resultview.Widgets,
    welcome.Widgets,
    Protocol,
):
    """All of LLMBoostSegment.ui, by name."""

    explanationBox: qt.QCheckBox
    fastBox: qt.QCheckBox
    fitLabel: qt.QLabel
    modelDetails: qt.QLabel
    modelLine: qt.QLabel
    modelList: qt.QListWidget
    outputLabel: qt.QLabel
    outputSelector: slicer.qMRMLNodeComboBox
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
        self._asked = ""  # a model to choose, as soon as the module is entered
        self._problem = ""  # why there can be no result
        self._extent: list[float] | None = None  # of an image to segment, in mm along the axes that the model goes by
        self._hint = ""  # shown in the status line
        self.choice = ChoiceView(ui, self.run)
        self.explanations = ExplainView(ui, self.run)
        self.results = ResultView(ui, logic, self.explanations.choose)
        self.inputs = InputView(ui)
        self.chooser = ModelChooser(ui.searchEdit, ui.modelList, self._onModel)
        self.advanced = Advanced(ui, logic.client, self.run, self._onWorker)
        self.imports = ModelImport(ui, logic.client, self.chooser, self.run, self.runner, self.progress, self._onModels)
        self.loop = Loop(ui, self)
        self.run.observe(self._showAnyway)
        done = self._beginOrStop, self._callbacks, self._endedWith
        self.reports = ReportView(ui, logic, self.results, self.run, *done)
        ui.applyButton.connect("clicked()", self._onApply)
        ui.explainButton.connect("clicked()", self._onExplain)
        ui.anywayButton.connect("clicked()", self._onAnyway)
        ui.roiSelector.connect("nodeAddedByUser(vtkMRMLNode*)", self._onNewRoi)
        self.welcome = Welcome(ui, self._onFirst, self.imports.ask)
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
        if self._asked:
            asked, self._asked = self._asked, ""
            self.parameterNode.model = asked
        self.update()

    def enter(self) -> None:
        if not self.run.active:
            self._showHint()
        super().enter()

    def log(self, text: str) -> None:
        self.advanced.say(text)

    def useModel(self, name: str) -> None:
        """Choose a model, as another module asks for; one that was added just now is in the list, too. While the module
        is left, that waits until it is entered again."""
        self.chooser.refresh()
        self._asked = name if self.parameterNode is None else ""
        self._onModel(name)

    def forgetScene(self) -> None:
        """The scene is about to be closed: stop what goes on, let go of all nodes."""
        if self.run.does(Work.IMAGE):
            self.runner.stop(_("cancelled, for the scene was closed"))
        self.setParameterNode(None)
        self.forgetResult()
        self.loop.clear()
        self.logic.forget()
        if not self.run.active:  # what was done was done in that scene
            self.tell("")
            self._hint = ""
            self._showHint()

    def shutDown(self) -> None:
        super().shutDown()
        self.loop.learning.shutDown()
        self.advanced.shutDown()
        self.results.clear()  # and give the views back
        self.explanations.clear()

    # Parameters

    @property
    def _card(self) -> Card | None:
        return self.chooser.current.card if self.chooser.current else None

    @property
    def resultCard(self) -> Card | None:
        """Of the model that made the result, if it is still there."""
        return self.chooser.card(self.logic.asked.model) if self.logic.asked else None

    def update(self) -> None:
        """Show what follows from the parameters, and from the nodes that they name."""
        node = self.parameterNode
        if node is None:
            return
        if self.chooser.current is None or self.chooser.current.name != node.model:
            self.chooser.choose(node.model)
        inputs = self.inputs.inputs(self._card)
        self._watch([*inputs, node.roi, node.outputSegmentation])
        self._problem, notes = examine(self.chooser.current, node, inputs)
        segments = not (self._problem or isinstance(inputs[0], SegmentInput) or classifies(self._card))
        self._extent = fit.coveredMm(self._card, inputs[0], node.roi).tolist() if segments and self._card else None
        everyFrame = self.inputs.show(self._card, inputs, usable=not self._problem)
        self._showFit([] if self.inputs.study() else notes, hidden=inputs[0] is None)
        self.welcome.show(inputs[0] is None)
        self._showOutput(everyFrame)
        seconds = self._expectedSeconds(inputs)
        text = describe(
            self.chooser.current, seconds, self._expectedMemory(inputs[0]), self.chooser.words, self._extent
        )
        if text != self.ui.modelDetails.text:
            self.ui.modelDetails.text = text
        self.ui.modelLine.text = inShort(self._card, self._extent)
        self._showChosen(node, inputs)
        self.choice.ask(self._problem, any(each is None for each in inputs), classifies(self._card), seconds)
        for part in (self.advanced, self.imports, self.reports):
            part.refresh()

    def _expectedSeconds(self, inputs: list[Any]) -> float | None:
        node, card = self.parameterNode, self._card
        if card is None or self._extent is None:
            return None
        one = speed.expected(faster(card) if _isFast(node, card) else card, node.device.value, self._extent)
        return None if one is None else one * frameCount(inputs[0], node.allFrames)

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
        label.text = "\n".join(notes)
        label.setStyleSheet(WARNING_STYLE)
        label.visible = bool(label.text) and not hidden

    def _showChosen(self, node: Any, inputs: list[Any]) -> None:
        """What the folded section tells."""
        entry = self.chooser.current
        output = _("new segmentation") if node.outputSegmentation is None else node.outputSegmentation.GetName()
        image = getattr(inputs[0], "segmentationNode", inputs[0])
        self.choice.show(
            image.GetName() if image is not None else "",
            entry.title if entry else "",
            "" if classifies(self._card) else output,
        )

    def _showAnyway(self) -> None:
        self.ui.anywayButton.enabled = not (self.run.resting or self.run.active)

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

    def _onFirst(self, node: Any) -> None:
        """An image to begin with."""
        self.parameterNode.inputVolume = node

    def _onNewRoi(self, roiNode: Any) -> None:
        self.inputs.placeRoi(roiNode, self._card, self.inputs.inputs(self._card)[0])

    # A run

    def apply(self) -> None:
        """Begin what is asked for, as a click does, if it can be."""
        if self._problem:
            self.tell(self._problem)
        else:
            self._onApply()

    def _onApply(self) -> None:
        # what is asked is settled now: the module may be left before the worker is there
        asked = self.parameterNode, self._card, self.inputs.inputs(self._card), self.inputs.study()
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
            self.runner.begin(Work.IMAGE, _("starting"), start, self.choice.seconds)

    def _process(self, node: Any, card: Card | None, inputs: list[Any], study: int) -> None:
        """Segment, or classify; with a ``study``, what of it suits the model."""
        if self._problem or card is None:
            raise LLMBoostError(self._problem)
        frames = framesOf(inputs[0]) if node.allFrames and not classifies(card) else None
        asked = {"model": card.name, "roiNode": node.roi, "device": node.device.value}
        clock, isFast = None, _isFast(node, card)
        if self._extent:
            count, isWarm = frameCount(inputs[0], node.allFrames), self.logic.client.ready
            taken = faster(card) if isFast else card
            clock = speed.Clock(taken, node.device.value, self._extent, count, isWarm)
        before = self.logic.asked, self.logic.result
        callbacks = self._callbacks(partial(self._done, clock, before))
        self.run.go([*(getattr(each, "segmentationNode", each) for each in inputs), *(frames or ())])
        explain = self.explanations.first if node.explanation else None
        if study:
            asked = {"model": card.name, "device": node.device.value, "fast": isFast, "series": "all"}
            self.logic.processStudies(study, **asked, **self._callbacks(self._studyDone))
        elif classifies(card):
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
        callbacks = self._callbacks(partial(self._done, None, (None, None)))
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

    def _done(self, clock: speed.Clock | None, before: tuple[Any, Any], result: Result | Classification) -> None:
        if clock:
            clock.stop(result.seconds)
        self._endedWith(result.name)
        self.showResult(result)
        self.loop.ran(*before)

    def showResult(self, result: Result | Classification) -> None:
        """In the section and in the views."""
        showVolume(result.volumeNode)
        self.results.show(result)
        self.choice.fold(True)
        self.explanations.offer(result.targets)
        self.update()
        if result.explanation:
            self.explanations.add(result.explanation)

    def _studyDone(self, made: Any) -> None:
        """The last result is shown; the others lie beside it, and Undo takes all back."""
        self._done(None, (None, None), self.logic.result)
        self.tell(made.told)

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

    def forgetResult(self) -> None:
        """It is shown no more; the logic still knows it, to take it back."""
        self.editor.close()
        self.results.clear()
        self.choice.fold(False)
        self.explanations.clear()

    @vtk.calldata_type(vtk.VTK_OBJECT)  # type: ignore[untyped-decorator]
    def _onNodeRemoved(self, _caller: Any, _event: str, node: Any) -> None:
        if self.run.needs(node):
            self.runner.stop(_("cancelled, for {name} was removed from the scene").format(name=node.GetName()))
        if self.results.uses(node):
            self.forgetResult()
            self.loop.forget()
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


def _isFast(parameterNode: Any, card: Card) -> bool:
    """Whether the run takes a larger step from patch to patch."""
    return bool(parameterNode.fast) and can_be_faster(card)
