"""A segment as the input of a model that takes masks instead of images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import slicer

from llmboost.messages.images import Volume

from .nodes import derivedNode
from .volumes import segmentState, volumeFromSegment


@dataclass(frozen=True)
class SegmentInput:
    """One segment, in place of a volume node."""

    segmentationNode: Any
    segmentID: str
    _known: dict[bytes, Volume] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Of the segment."""
        return self.segmentationNode.GetSegmentation().GetSegment(self.segmentID).GetName()

    def volume(self) -> Volume:
        """Its voxels, 0 and 1, converted once a change; raises LLMBoostError where there are none."""
        state = segmentState(self.segmentationNode, self.segmentID)
        if state not in self._known:
            self._known.clear()
            self._known[state] = volumeFromSegment(self.segmentationNode, self.segmentID)
        return self._known[state]

    def makeVolumeNode(self) -> Any:
        """The same voxels as a volume node, which results can lie on; an earlier one is updated."""
        volume = self.volume()
        name = f"{self.segmentationNode.GetName()} {self.name}"
        node, isNew = derivedNode("vtkMRMLScalarVolumeNode", self.segmentationNode, f"mask {self.segmentID}", name)
        slicer.util.updateVolumeFromArray(node, volume.array)
        matrix = np.eye(4)
        matrix[:3, :3] = volume.direction * volume.spacing
        matrix[:3, 3] = volume.origin
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix))
        if isNew:
            node.CreateDefaultDisplayNodes()
        return node
