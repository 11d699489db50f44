"""The section Input of the panel: as many rows as the chosen model needs."""

from __future__ import annotations

from typing import Any, Protocol

import qt
import slicer
from slicer.i18n import tr as _

from llmboost.card import CLASSIFICATION, Card
from llmboost.card.told import takes_mask

from ..scene import fit
from ..scene.frames import framesOf
from ..scene.segmentinput import SegmentInput
from ..scene.volumes import worldFromVoxels
from .slicechoice import SliceChoice, sliceCount, sliceOfView
from .studyview import StudyView

MAX_CHANNELS = 4


def classifies(card: Card | None) -> bool:
    """Whether the model tells classes, and draws no segments."""
    return card is not None and card.task == CLASSIFICATION


class Widgets(Protocol):
    framesBox: qt.QComboBox
    framesLabel: qt.QLabel
    inputLabel2: qt.QLabel
    inputLabel3: qt.QLabel
    inputLabel4: qt.QLabel
    inputLabel: qt.QLabel
    inputSelector2: slicer.qMRMLNodeComboBox
    inputSelector3: slicer.qMRMLNodeComboBox
    inputSelector4: slicer.qMRMLNodeComboBox
    inputSelector: slicer.qMRMLNodeComboBox
    segmentLabel: qt.QLabel
    segmentSelector: slicer.qMRMLSegmentSelectorWidget
    slicesBox: qt.QComboBox
    slicesLabel: qt.QLabel
    studyBox: qt.QComboBox
    studyLabel: qt.QLabel


class InputView:
    """Shows the rows, and tells what they hold."""

    def __init__(self, ui: Widgets) -> None:
        self._ui = ui
        self._parameterNode: Any = None
        self._segment: SegmentInput | None = None
        self._study = StudyView(ui)
        self._slices = SliceChoice(ui.slicesBox, self._onSlices)
        ui.framesBox.connect("activated(int)", self._onFrames)
        ui.segmentSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._onSegment)
        ui.segmentSelector.connect("currentSegmentChanged(QString)", self._onSegment)

    def setParameterNode(self, parameterNode: Any) -> None:
        """Show and change this node's parameters; None: no node's."""
        self._parameterNode = parameterNode
        self._study.setParameterNode(parameterNode)
        if parameterNode is not None:
            selector = self._ui.segmentSelector  # which has no connector of Slicer's
            wasBlocked = selector.blockSignals(True)
            selector.setCurrentNode(parameterNode.inputSegmentation)
            selector.setCurrentSegmentID(parameterNode.inputSegmentID)
            selector.blockSignals(wasBlocked)

    def inputs(self, card: Card | None) -> list[Any]:
        """What the model is to be given: volume nodes, or a segment; None where nothing is chosen."""
        node = self._parameterNode
        if card and takes_mask(card):
            return [self._chosenSegment(node.inputSegmentation, node.inputSegmentID)]
        steps = card.preprocessing if card else None
        count = 1 if steps is None or steps.color else min(steps.channels, MAX_CHANNELS)  # a color image is one
        names = ["inputVolume", *(f"inputVolume{number}" for number in range(2, count + 1))]
        return [getattr(node, name) for name in names]

    def _chosenSegment(self, segmentationNode: Any, segmentID: str) -> SegmentInput | None:
        """The same object for the same segment: it knows its voxels."""
        if segmentationNode is None or not segmentID:
            self._segment = None
        elif self._segment is None or self._segment != SegmentInput(segmentationNode, segmentID):
            self._segment = SegmentInput(segmentationNode, segmentID)
        return self._segment

    def show(self, card: Card | None, inputs: list[Any], usable: bool) -> bool:
        """Show the rows that the model needs.

        Args:
            usable: the model can be given these inputs.

        Returns:
            whether the image shows a sequence of which all time points are wanted.
        """
        ui = self._ui
        mask = card is not None and takes_mask(card)
        ui.segmentLabel.visible = ui.segmentSelector.visible = mask
        for number in range(MAX_CHANNELS):
            shown = not mask and number < len(inputs)
            for name in ("inputLabel", "inputSelector"):
                getattr(ui, f"{name}{number + 1 if number else ''}").visible = shown
        single = not mask and len(inputs) == 1 and not classifies(card)
        self._study.show(card, inputs[0] if single and usable else None)
        every = self._showFrames(inputs[0] if single else None, self._parameterNode.allFrames)
        several = usable and card is not None and _takesSlices(card, inputs) and sliceCount(card, inputs[0]) > 1
        if card is not None and several:
            self._slices.show(card, inputs[0], self._parameterNode.sliceView)
        ui.slicesLabel.visible = ui.slicesBox.visible = several
        return every

    def slice(self, card: Card, inputs: list[Any], view: str) -> int | None:
        """The slice that a 2D classifier is to be given; None: all, or the model is another.

        Raises:
            LLMBoostError: the view that was chosen shows no slice of the image.
        """
        return sliceOfView(card, inputs[0], view) if _takesSlices(card, inputs) else None

    def study(self) -> int:
        """The item of the study of which all volumes that suit are wanted; 0: the image alone is."""
        return self._study.wanted

    def placeRoi(self, roiNode: Any, card: Card | None, volumeNode: Any) -> None:
        """Place a new ROI in the middle of the image, as large as the model looks at once."""
        if roiNode is None or card is None or not isinstance(volumeNode, slicer.vtkMRMLVolumeNode):
            return
        bounds = [0.0] * 6
        volumeNode.GetRASBounds(bounds)
        roiNode.SetCenter(*((low + high) / 2 for low, high in zip(bounds[::2], bounds[1::2], strict=True)))
        edges = [high - low for low, high in zip(bounds[::2], bounds[1::2], strict=True)]
        patch = fit.patchAlongRasMm(card, worldFromVoxels(volumeNode)[:3, :3])
        roiNode.SetSize(*map(min, patch, edges))

    def _showFrames(self, volumeNode: Any, every: bool) -> bool:
        """Of an image that shows a sequence: the time points; whether there are any, and all are wanted."""
        box, found = self._ui.framesBox, framesOf(volumeNode)
        self._ui.framesLabel.visible = box.visible = found is not None
        if not found:
            return False
        browser, sequence = found
        count, current = sequence.GetNumberOfDataNodes(), browser.GetSelectedItemNumber() + 1
        one = _("This one ({current} of {count})") if current else _("This one, of {count}")  # none is selected
        texts = [one.format(current=current, count=count)]
        texts.append(_("All {count}").format(count=count))
        if [box.itemText(n) for n in range(box.count)] != texts:
            box.clear()
            box.addItems(texts)
        box.currentIndex = int(every)
        return every

    def _onFrames(self, index: int) -> None:
        self._parameterNode.allFrames = bool(index)

    def _onSlices(self, view: str) -> None:
        self._parameterNode.sliceView = view

    def _onSegment(self, _changed: Any) -> None:
        """Also at the end of a scene, and while one is loaded, which brings its own choice."""
        if self._parameterNode is not None and not slicer.mrmlScene.IsBatchProcessing():
            selector = self._ui.segmentSelector
            self._parameterNode.inputSegmentation = selector.currentNode()
            self._parameterNode.inputSegmentID = selector.currentSegmentID()


def _takesSlices(card: Card, inputs: list[Any]) -> bool:
    """Whether the model classifies slices of these images."""
    isImage = isinstance(inputs[0], slicer.vtkMRMLVolumeNode)
    return isImage and classifies(card) and card.preprocessing.slice_axis is not None
