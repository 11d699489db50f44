"""All time points of a sequence: one segmentation for each, as a sequence that the same browser plays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import slicer
from slicer.i18n import tr as _

from llmboost.errors import LLMBoostError
from llmboost.messages.images import SegmentAnswer, Volume

from .nodes import inSameStudy, removeNode
from .result import Result, resultName
from .segmentation import writeSegmentation
from .tables import writeSeriesTable
from .volumes import frameWarnings, volumesFromNode


def framesOf(volumeNode: Any) -> tuple[Any, Any] | None:
    """The sequence browser and the sequence that show their frames in this volume; None if it is a single one."""
    logic = _logic()
    if volumeNode is None or logic is None:
        return None
    browser = logic.GetFirstBrowserNodeForProxyNode(volumeNode)
    sequence = browser.GetSequenceNode(volumeNode) if browser else None
    return (browser, sequence) if sequence and sequence.GetNumberOfDataNodes() > 1 else None


def frameCount(volumeNode: Any, every: bool) -> int:
    """How many images are segmented, one after the other, where all frames are wanted, or one."""
    found = framesOf(volumeNode) if every else None
    return found[1].GetNumberOfDataNodes() if found else 1


def _logic() -> Any:
    """Of the module Sequences; None in an application without it."""
    module = getattr(slicer.modules, "sequences", None)
    return module.logic() if module else None


class Frames:
    """The frames that a volume shows one after the other.

    Raises:
        LLMBoostError: the volume belongs to no sequence.
    """

    def __init__(self, volumeNode: Any) -> None:
        found = framesOf(volumeNode)
        if found is None:
            raise LLMBoostError(_("{name}: shows no sequence; segment it alone").format(name=volumeNode.GetName()))
        self.volumeNode = volumeNode
        self._browser, self._sequence = found

    def __len__(self) -> int:
        return self._sequence.GetNumberOfDataNodes()

    def volumes(self, number: int, color: bool) -> list[Volume]:
        """The channels of a frame, as :func:`LLMBoostLib.scene.volumes.volumesFromNode` gives them."""
        with self._frame(number) as node:
            return volumesFromNode(node, color)

    def write(self, answers: Sequence[SegmentAnswer]) -> Result:
        """Make the sequence of segmentations, and its table: a row a time point.

        Raises:
            LLMBoostError: the sequence was removed, or has another length now.
        """
        scene = slicer.mrmlScene
        if not all(map(scene.IsNodePresent, (self.volumeNode, self._browser, self._sequence))):
            raise LLMBoostError(_("the sequence was removed from the scene meanwhile: its segmentations are dropped"))
        if len(self) != len(answers):
            raise LLMBoostError(_("the sequence was changed meanwhile; segment it again"))
        warnings = list(frameWarnings(self.volumeNode))
        name = scene.GenerateUniqueName(resultName(self.volumeNode, answers[0].provenance))
        sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", f"{name} sequence")
        undo = FramesUndo(sequence)
        try:
            sequence.SetIndexName(self._sequence.GetIndexName())
            sequence.SetIndexUnit(self._sequence.GetIndexUnit())
            sequence.SetIndexType(self._sequence.GetIndexType())
            for number, answer in enumerate(answers):
                self._writeFrame(number, answer, sequence)
                warnings += [f"{number + 1}: {warning}" for warning in answer.warnings]
            undo.segmentationNode = self._play(sequence, name)
            points = [self._sequence.GetNthIndexValue(number) for number in range(len(answers))]
            index = self._sequence.GetIndexName() or _("Frame")
            undo.tableNode = writeSeriesTable(f"{name} volumes", index, points, answers)
        except BaseException:
            undo.revert()
            raise
        seconds = sum(answer.seconds for answer in answers)
        return Result(
            undo.segmentationNode, undo.tableNode, undo, self.volumeNode, warnings=tuple(warnings), seconds=seconds
        )

    def _writeFrame(self, number: int, answer: SegmentAnswer, sequence: Any) -> None:
        with self._frame(number) as node:
            written = writeSegmentation(answer.labelmap, answer.labels, node, provenance=answer.provenance)
            try:
                sequence.SetDataNodeAtValue(written.segmentationNode, self._sequence.GetNthIndexValue(number))
            finally:
                written.revert()

    def _play(self, sequence: Any, name: str) -> Any:
        """The segmentation node that shows the frame which the browser has selected."""
        browser = self._browser
        browser.AddSynchronizedSequenceNode(sequence)
        browser.SetSaveChanges(sequence, True)  # what is edited in a frame is still there after the next one
        _logic().UpdateProxyNodesFromSequences(browser)
        node = browser.GetProxyNode(sequence)
        node.SetName(name)
        node.SetAndObserveTransformNodeID(self.volumeNode.GetTransformNodeID())
        node.SetReferenceImageGeometryParameterFromVolumeNode(self.volumeNode)
        if not node.GetDisplayNode():
            node.CreateDefaultDisplayNodes()
        inSameStudy(node, self.volumeNode)
        return node

    @contextmanager
    def _frame(self, number: int) -> Iterator[Any]:
        """A frame as a volume node of the scene, for a moment; what the browser shows stays as it is."""
        frame = self._sequence.GetNthDataNode(number)
        node = slicer.mrmlScene.AddNewNodeByClass(frame.GetClassName(), self.volumeNode.GetName())
        try:
            node.CopyContent(frame, False)
            node.SetAndObserveTransformNodeID(self.volumeNode.GetTransformNodeID())
            yield node
        finally:
            removeNode(node)


class FramesUndo:
    """Removes a sequence of segmentations, and what shows it."""

    def __init__(self, sequence: Any) -> None:
        self._sequence = sequence
        self.segmentationNode: Any = None
        self.tableNode: Any = None

    def revert(self) -> None:
        for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode"):
            if browser.IsSynchronizedSequenceNode(self._sequence, True):
                browser.RemoveSynchronizedSequenceNode(self._sequence.GetID())
        for node in (self.segmentationNode, self._sequence, self.tableNode):
            removeNode(node)
