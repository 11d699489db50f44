"""What tests of the Segment Editor share: an editor on a volume with some empty segments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
from Testing.gui.painting import showSlice, stroke

PREVIEW = "SegmentationResultPreview"


class Editor:
    """An editor in the main window, Paint chosen.

    Attributes:
        volume, segmentation: the nodes that are edited.
    """

    def __init__(
        self,
        host: Any,
        matrix: np.ndarray | None = None,
        *,
        array: np.ndarray | None = None,
        names: Sequence[str] = ("first", "second"),
        transform: Any = None,
    ):
        self.host = host
        array = np.zeros((20, 30, 40), np.int16) if array is None else array
        self.volume = slicer.util.addVolumeFromArray(array, matrix, "head")
        self.segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "segments")
        self.segmentation.CreateDefaultDisplayNodes()
        for node in (self.volume, self.segmentation):
            node.SetAndObserveTransformNodeID(transform.GetID() if transform else None)
        self.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(self.volume)
        for name in names:
            self.addSegment(name)
        self.widget = slicer.qMRMLSegmentEditorWidget()
        self.widget.setMRMLSegmentEditorNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
        self.widget.setMRMLScene(slicer.mrmlScene)
        self.widget.setSegmentationNode(self.segmentation)
        self.widget.setSourceVolumeNode(self.volume)
        slicer.util.mainWindow().setCentralWidget(self.widget)
        self.widget.setActiveEffectByName("Paint")

    def addSegment(self, name: str) -> None:
        """An empty segment, whose ID is its name."""
        self.segmentation.GetSegmentation().AddEmptySegment(name, name)

    def paint(self, name: str, *points: Sequence[float], view: str = "Red") -> None:
        """A stroke of the mouse in a slice view, in this segment, along points of the world (RAS)."""
        active = self.widget.activeEffect()
        self.widget.setActiveEffectByName("Paint")
        self.widget.setCurrentSegmentID(name)
        stroke(showSlice(view, self.volume, points[0]), points)
        self.widget.setActiveEffect(active)

    def voxels(self, name: str, node: Any = None) -> np.ndarray:
        """bool [k, j, i] of a segment, or of another segmentation's segment."""
        return slicer.util.arrayFromSegmentBinaryLabelmap(node or self.segmentation, name, self.volume) > 0

    @property
    def preview(self) -> Any:
        """The segmentation that an auto-complete effect shows, or None."""
        return self.widget.mrmlSegmentEditorNode().GetNodeReference(PREVIEW)
