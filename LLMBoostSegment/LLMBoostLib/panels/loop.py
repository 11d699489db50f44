"""What follows a result: correct it, learn from it, go on with the next image; each step can be taken back."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import qt
import slicer
from slicer.i18n import tr as _

from llmboost.errors import LLMBoostError

from ..scene.result import Result
from ..training.casestore import CaseStore
from ..training.snapshot import addCases, segmentsState
from .errordisplay import errorsShown
from .learning import Learning
from .nextcase import nextImage
from .plaintext import confirmed, tip
from .undosteps import Step, UndoSteps

if TYPE_CHECKING:
    from .segmentpanel import Panel


class Widgets(Protocol):
    addCaseButton: qt.QPushButton
    backButton: qt.QPushButton
    editButton: qt.QPushButton
    learnButton: qt.QPushButton
    learnLabel: qt.QLabel
    nextButton: qt.QPushButton
    revertButton: qt.QPushButton


class Loop:
    """The buttons of the section Result, and the page of the editor.

    Args:
        panel: whose results these are.
    """

    def __init__(self, ui: Widgets, panel: Panel) -> None:
        self._ui, self._panel = ui, panel
        self._logic = panel.logic
        self._before: tuple[Any, bool, tuple[int, ...]] | None = (
            None  # the segments before a correction: a copy, whether
        )
        # they had been edited, and their state
        self.steps = UndoSteps(ui.revertButton)
        self.learning = Learning(ui.learnLabel, panel.log, self._onModel)
        ui.editButton.connect("clicked()", self._onEdit)
        ui.backButton.connect("clicked()", self._onBack)
        ui.addCaseButton.connect("clicked()", self._onAddCase)
        ui.learnButton.connect("clicked()", self._onLearn)
        ui.nextButton.connect("clicked()", self._onNext)
        ui.revertButton.connect("clicked()", self._onUndo)
        panel.run.observe(self.show)

    def show(self) -> None:
        """Only what can be done can be clicked."""
        ui, result, busy = self._ui, self._panel.results.result, self._panel.run.active
        isSegments = isinstance(result, Result)
        base = self.learning.baseOf(self._panel.resultCard) if isSegments else ""
        ui.learnButton.visible = isSegments
        ui.learnButton.enabled = bool(base) and not busy
        can = _("Add the image and its segments, once you have corrected them, to the cases, and let the model learn"
                " from all cases in the background. What is learned stays on this computer.")  # fmt: skip
        cannot = _("This model cannot learn. LLMBoost Train can teach its segments to another one.")
        ui.learnButton.toolTip = tip(can if base else cannot)
        ui.nextButton.enabled = not busy

    def ran(self, asked: Any, result: Any) -> None:
        """A run has left a result; before, there was this one, if any."""
        new = self._logic.result
        if result is None or result.volumeNode is not new.volumeNode:
            asked = result = None
        undo = partial(self._undoResult, (self._logic.asked, new), (asked, result))
        self.steps.add(Step(_("result"), undo, isRun=True))
        self.show()

    def forget(self) -> None:
        """The nodes of results are gone."""
        self._before = None
        self.steps.forgetResults()

    def clear(self) -> None:
        """The scene is closed."""
        self._before = None
        self.steps.clear()

    # Undo

    def _onUndo(self) -> None:
        question = _("The segments may have been edited since. Undo takes edits back, too. Go on?")
        last = self.steps.last
        if last is None:
            return
        if last.isRun and self._panel.results.edited and not confirmed(question):
            return
        with errorsShown():
            name = self.steps.undo()
            self._panel.tell(_("Undone: {step}").format(step=name))
        self._panel.update()
        self.show()

    def _undoResult(self, own: tuple[Any, Any], before: tuple[Any, Any]) -> None:
        panel = self._panel
        panel.explanations.remove()
        panel.forgetResult()
        self._logic.asked, self._logic.result = own
        try:
            self._logic.revert()
        finally:
            self._bringBack(*before)

    def _bringBack(self, asked: Any, result: Any) -> None:
        """Show an earlier result again, if it is still there."""
        if result is not None and all(map(slicer.mrmlScene.IsNodePresent, result.nodes)):
            self._logic.asked, self._logic.result = asked, result
            self._panel.showResult(result)

    # Correct

    def _onEdit(self) -> None:
        with errorsShown():
            results = self._panel.results
            result, saved = results.segments, slicer.vtkSegmentation()
            saved.DeepCopy(result.segmentationNode.GetSegmentation())
            self._before = saved, results.edited, segmentsState(result.segmentationNode)
            self._panel.editor.open(result.segmentationNode, result.volumeNode)

    def _onBack(self) -> None:
        panel, before = self._panel, self._before
        panel.editor.close()
        self._before = None
        if before is not None and isinstance(panel.results.result, Result):
            saved, wasEdited, state = before
            node = panel.results.segments.segmentationNode
            if segmentsState(node) != state:
                self.steps.add(Step(_("correction"), partial(self._undoCorrection, node, saved, wasEdited)))
        panel.results.refresh()

    def _undoCorrection(self, segmentationNode: Any, saved: Any, wasEdited: bool) -> None:
        results = self._panel.results
        segmentationNode.GetSegmentation().DeepCopy(saved)
        if isinstance(results.result, Result) and results.segments.segmentationNode is segmentationNode:
            results.refresh()
            if not wasEdited:
                results.settle()

    # Learn

    def _onAddCase(self) -> None:
        """The image, and its segments as they are now, are something to learn from for LLMBoost Train."""
        with errorsShown():
            store, result = CaseStore(), self._panel.results.segments
            cases = addCases(store, result.volumeNode, result.segmentationNode)
            text = _("Added to the cases of LLMBoost Train ({count} in all)")
            if len(cases) > 1:
                text = _("Added to the cases of LLMBoost Train as {crops} crops, a side each ({count} in all)")
            self._panel.tell(text.format(crops=len(cases), count=len(store.cases)))

    def _onLearn(self) -> None:
        with errorsShown():
            result, card = self._panel.results.segments, self._panel.resultCard
            assert card
            self.steps.add(self.learning.learn(result.volumeNode, result.segmentationNode, card))

    def _onModel(self, name: str) -> None:
        """What was learned is used from now on, or no longer; also if the module was left meanwhile."""
        self._panel.useModel(name)

    # Next case

    def _onNext(self) -> None:
        panel = self._panel
        with errorsShown():
            result, asked, node = panel.results.result, self._logic.asked, panel.parameterNode
            if result is None:
                raise LLMBoostError(_("Segment an image first"))
            image = nextImage(result.volumeNode)
            display = result.segmentationNode.GetDisplayNode() if isinstance(result, Result) else None
            wasShown = bool(display and display.GetVisibility())
            before = node.inputVolume, node.outputSegmentation
            if display:
                display.SetVisibility(False)  # it would lie over the next image
            node.outputSegmentation = None
            node.inputVolume = image
            slicer.util.setSliceViewerLayers(background=image, foreground=None, fit=True)
            self.steps.add(Step(_("next case"), partial(self._undoNext, before, wasShown, asked, result)))
            panel.apply()

    def _undoNext(self, before: tuple[Any, Any], wasShown: bool, asked: Any, result: Any) -> None:
        panel = self._panel
        panel.runner.stop(_("cancelled"))
        panel.parameterNode.inputVolume, panel.parameterNode.outputSegmentation = before
        if isinstance(result, Result) and wasShown:
            result.segmentationNode.GetDisplayNode().SetVisibility(True)
        slicer.util.setSliceViewerLayers(background=result.volumeNode, foreground=None, fit=True)
        self._bringBack(asked, result)
