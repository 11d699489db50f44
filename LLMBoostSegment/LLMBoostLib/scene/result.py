"""From the worker's answer to nodes of the scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import slicer
from slicer.i18n import tr as _

from llmboost.card import Flag, Volumetry
from llmboost.messages.images import SegmentAnswer

from .explanation import Explanation
from .maps import writeMap
from .nodes import removeNode
from .segmentation import writeSegmentation
from .tables import writeTable
from .volumes import frameWarnings


class Undoable(Protocol):
    """What takes a run back."""

    def revert(self) -> None: ...


@dataclass(frozen=True)
class Result:
    """What a run left in the scene.

    Attributes:
        segmentationNode: the segments.
        tableNode: their sizes in mL and voxels.
        undo: the way back to what the segmentation was before.
        volumeNode: the image that the segments lie on.
        targets: what can be explained: value and name of each segment; empty where that is not possible.
        quality: how good the segments are expected to be; None where nobody knows.
        mapNodes: by kind ("entropy", "probability_<label value>"), as far as they were asked for.
        warnings: what a user should know before believing the result.
        seconds: time that the engine took.
        explanation: of where the model looked, if that was asked for.
        volumetry: which of the sizes are set against each other.
    """

    segmentationNode: Any
    tableNode: Any
    undo: Undoable
    volumeNode: Any = None
    targets: tuple[tuple[int, str], ...] = ()
    quality: Flag | None = None
    mapNodes: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    explanation: Explanation | None = None
    volumetry: Volumetry = field(default_factory=Volumetry)

    @property
    def name(self) -> str:
        """Says in a line what was made."""
        return str(self.segmentationNode.GetName())

    @property
    def nodes(self) -> list[Any]:
        """Those without which the result is of no use."""
        return [self.segmentationNode, self.tableNode]

    def revert(self) -> None:
        """Take the segments and their table back. Maps stay, they are the volume's."""
        self.undo.revert()
        removeNode(self.tableNode)


def resultName(volumeNode: Any, provenance: dict[str, str]) -> str:
    """The name of a new segmentation: that of the image and that of the model."""
    return f"{volumeNode.GetName()} {provenance['LLMBoost.Model']}"


def writeResult(answer: SegmentAnswer, inputs: Sequence[Any], segmentationNode: Any, closedSurface: bool) -> Result:
    """Make the segments, their table and the maps of an answer to the request ``segment``.

    Args:
        inputs: the volume nodes that were sent; the segments lie on the first one's grid.
        segmentationNode: where the segments go; if it was removed from the scene meanwhile, they go into a new one,
            for they took time.

    Raises:
        LLMBoostError: the volume was removed or changed meanwhile.
    """
    volumeNode, provenance = inputs[0], answer.provenance
    warnings = [warning for node in inputs for warning in frameWarnings(node)]
    if segmentationNode is not None and not slicer.mrmlScene.IsNodePresent(segmentationNode):
        segmentationNode = None
        warnings.append(_("The output segmentation was removed meanwhile: the segments are in a new one"))
    undo = writeSegmentation(
        answer.labelmap,
        answer.labels,
        volumeNode,
        segmentationNode,
        name=resultName(volumeNode, provenance),
        provenance=provenance,
        closedSurface=closedSurface,
    )
    maps = [("entropy", _("Entropy"), "", answer.entropy)]
    maps += [(f"probability_{one.value}", _("Probability"), one.name, one.probability) for one in answer.classes]
    try:
        mapNodes = {
            kind: writeMap(values, volumeNode, kind, title, subject, provenance)
            for kind, title, subject, values in maps
            if values is not None
        }
        table = writeTable(answer.labelmap, answer.labels, answer.volumes_ml, undo.segmentationNode, answer.volumetry)
    except BaseException:
        undo.revert()
        raise
    # where another model drew, the one that was asked would explain something else
    drew = "LLMBoost.DrawnBy" not in provenance
    return Result(
        undo.segmentationNode,
        table,
        undo,
        volumeNode,
        tuple((label.value, label.name) for label in answer.labels) if drew else (),
        answer.quality,
        mapNodes,
        (*warnings, *answer.warnings),
        answer.seconds,
        volumetry=answer.volumetry,
    )
