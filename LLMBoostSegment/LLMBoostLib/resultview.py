"""What a run found: the table, the surfaces and the map of uncertainty, in the panel and in the views."""

from __future__ import annotations

from typing import Any

import slicer

from .maps import Overlay
from .result import Result
from .tables import VOXELS, measureTable

_LABELMAP = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
_SURFACE = slicer.vtkSegmentationConverter.GetClosedSurfaceRepresentationName()
_ENTROPY = "entropy"
ROWS = 6  # of the table, seen without scrolling
MARGIN = 6  # pixels


class ResultView:
    """The section Result of the panel; hidden while there is none.

    Args:
        ui: resultButton, resultTable, show3DBox, overlayBox, opacitySlider, warningsLabel.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._overlay = Overlay()
        self._written: list[int] = []
        self.result: Result | None = None
        ui.show3DBox.connect("toggled(bool)", self._onShow3D)
        ui.overlayBox.connect("toggled(bool)", self._onOverlay)
        ui.opacitySlider.connect("valueChanged(double)", self._onOpacity)
        self.clear()

    def show(self, result: Result) -> None:
        """Show a result in place of the one before."""
        wasOn = self._ui.overlayBox.checked
        self.clear()
        self.result, ui = result, self._ui
        self._written = self._state()
        ui.resultTable.setMRMLTableNode(result.tableNode)
        rows = min(result.tableNode.GetNumberOfRows(), ROWS) + 1  # and the header
        ui.resultTable.setFixedHeight(rows * ui.resultTable.verticalHeader().defaultSectionSize + MARGIN)
        ui.warningsLabel.text = "\n".join(result.warnings)
        ui.warningsLabel.visible = bool(result.warnings)
        ui.show3DBox.checked = self._hasSurfaces()
        hasMap = _ENTROPY in result.mapNodes
        ui.overlayBox.visible = ui.opacityLabel.visible = ui.opacitySlider.visible = hasMap
        ui.overlayBox.checked = hasMap and wasOn
        ui.resultButton.visible = True
        ui.resultButton.collapsed = False

    def clear(self) -> None:
        """Forget the result; the views show again what they showed before its map."""
        self.result, self._written = None, []
        self._ui.overlayBox.checked = False
        self._ui.show3DBox.checked = False
        self._ui.resultTable.setMRMLTableNode(None)
        self._ui.resultButton.visible = False

    @property
    def edited(self) -> bool:
        """Whether someone changed the segments since they were written."""
        return self.result is not None and self._state() != self._written

    def refresh(self) -> None:
        """Show what became of the segments in the editor; the table of a sequence stays as it is."""
        if self.result is None:
            return
        if self.edited and self.result.tableNode.GetColumnIndex(VOXELS) >= 0:
            measureTable(self.result.tableNode, self.result.segmentationNode)
        self._ui.show3DBox.checked = self._hasSurfaces()  # the editor can show and hide them, too

    def uses(self, node: Any) -> bool:
        """Whether the result is of no use without this node."""
        return self.result is not None and node in (self.result.segmentationNode, self.result.tableNode)

    def forgetMap(self, node: Any) -> None:
        """Take a map that is being removed out of the views."""
        if node is self._overlay.mapNode:
            self._ui.overlayBox.checked = False
            self._ui.overlayBox.visible = False

    def _hasSurfaces(self) -> bool:
        return self.result.segmentationNode.GetSegmentation().ContainsRepresentation(_SURFACE)

    def _state(self) -> list[int]:
        """When each segment's voxels were changed last."""
        assert self.result
        segmentation = self.result.segmentationNode.GetSegmentation()
        segments = [segmentation.GetNthSegment(n) for n in range(segmentation.GetNumberOfSegments())]
        layers = [segment.GetRepresentation(_LABELMAP) for segment in segments]
        return [layer.GetMTime() if layer else 0 for layer in layers]

    def _onShow3D(self, shown: bool) -> None:
        if self.result is None:
            return
        node = self.result.segmentationNode
        if shown:
            node.CreateClosedSurfaceRepresentation()
        else:
            node.RemoveClosedSurfaceRepresentation()

    def _onOverlay(self, shown: bool) -> None:
        self._ui.opacitySlider.enabled = shown
        if shown and self.result:
            self._overlay.show(self.result.mapNodes[_ENTROPY], self.result.volumeNode, self._ui.opacitySlider.value)
        else:
            self._overlay.hide()

    def _onOpacity(self, value: float) -> None:
        self._overlay.setOpacity(value)
