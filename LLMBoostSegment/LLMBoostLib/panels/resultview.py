"""What a run found: classes or segments, the table, the surfaces and the map of uncertainty, in panel and views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html import escape
from typing import Any, Protocol

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from ..scene.classification import Classification, asRichText
from ..scene.maps import UNCERTAINTY_COLORS, Overlay
from ..scene.result import Result
from ..scene.tables import VOXELS, measureTable
from . import swatches
from .errordisplay import PROBLEM_STYLE, WARNING_STYLE, capitalized
from .segmenttable import SegmentTable

_LABELMAP = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
_SURFACE = slicer.vtkSegmentationConverter.GetClosedSurfaceRepresentationName()
_ENTROPY = "entropy"
ROWS = 6  # of the table, seen without scrolling
MARGIN = 6  # pixels


class HasResult(Protocol):
    """The logic, as far as it matters here."""

    result: Result | Classification | None


class Widgets(Protocol):
    addCaseButton: qt.QPushButton
    anywayButton: qt.QPushButton
    editButton: qt.QPushButton
    explanationOverlayBox: qt.QCheckBox
    opacitySlider: ctk.ctkSliderWidget
    overlayBox: qt.QCheckBox
    rangeLabel: qt.QLabel
    resultButton: ctk.ctkCollapsibleButton
    resultTable: slicer.qMRMLTableView
    segmentTable: qt.QTableWidget
    show3DBox: qt.QCheckBox
    verdictLabel: qt.QLabel
    warningsLabel: qt.QLabel


class ResultView:
    """The section Result of the panel; hidden while there is none.

    Args:
        logic: has the result.
        onSegment: is called with the name of the segment that is clicked in the table.
    """

    def __init__(self, ui: Widgets, logic: HasResult, onSegment: Callable[[str], None]) -> None:
        self._ui, self._logic = ui, logic
        self._segmentTable = SegmentTable(ui.segmentTable, onSegment)
        self._overlay = Overlay()
        self._written: list[int] | None = None  # no result is shown
        ui.rangeLabel.setStyleSheet(PROBLEM_STYLE)
        ui.warningsLabel.setStyleSheet(WARNING_STYLE)
        ui.show3DBox.connect("toggled(bool)", self._onShow3D)
        ui.overlayBox.connect("toggled(bool)", self._onOverlay)
        ui.opacitySlider.connect("valueChanged(double)", self._onOpacity)
        self.clear()

    @property
    def result(self) -> Result | Classification | None:
        """What is shown."""
        return None if self._written is None else self._logic.result

    @property
    def segments(self) -> Result:
        """What is shown, where that can be edited."""
        assert isinstance(self.result, Result)
        return self.result

    def show(self, result: Result | Classification) -> None:
        """Show the logic's result in place of the one before."""
        wasOn = self._ui.overlayBox.checked
        self.clear()
        self._written, ui = _state(result), self._ui
        hasSegments = isinstance(result, Result)
        if isinstance(result, Classification):
            self._showClasses(result)
        else:
            self._showQuality(result)
        ui.warningsLabel.text = "\n".join(result.warnings)
        ui.warningsLabel.visible = bool(result.warnings)
        for widget in (ui.show3DBox, ui.editButton, ui.addCaseButton):
            widget.visible = hasSegments
        ui.show3DBox.checked = self._hasSurfaces()
        hasMap = isinstance(result, Result) and _ENTROPY in result.mapNodes
        ui.overlayBox.visible = ui.opacitySlider.visible = hasMap
        ui.overlayBox.setIcon(swatches.ofMap(UNCERTAINTY_COLORS))
        ui.overlayBox.setIconSize(qt.QSize(swatches.STRIP, swatches.SIDE))
        ui.overlayBox.checked = hasMap and wasOn
        ui.resultButton.visible = True
        ui.resultButton.collapsed = False

    def _showClasses(self, found: Classification) -> None:
        self._showVerdict("" if found.refused else asRichText(found))
        title = _("Outside of the model's range: its answer means little here.")
        if found.refused:
            title = _("Not an image that this model knows:")
        self._ui.rangeLabel.text = "\n".join([title, *found.outside])
        self._ui.rangeLabel.visible = found.refused or bool(found.outside)
        self._ui.anywayButton.visible = found.refused
        self._segmentTable.show(None)
        self._showTable(found.slicesNode)

    def _showQuality(self, result: Result) -> None:
        """The segments, and how good the model's own probably are; what a person changed is rated no more."""
        result = replace(result, quality=None) if self.edited else result
        told = result.quality
        self._showVerdict(escape(capitalized(told.text)) if told else "", WARNING_STYLE if told and told.low else "")
        self._ui.rangeLabel.visible = self._ui.anywayButton.visible = False
        self._showTable(None if self._segmentTable.show(result) else result.tableNode)

    def _showVerdict(self, richText: str, style: str = "") -> None:
        self._ui.verdictLabel.text = richText
        self._ui.verdictLabel.setStyleSheet(style)
        self._ui.verdictLabel.visible = bool(richText)

    def _showTable(self, tableNode: Any) -> None:
        table = self._ui.resultTable
        table.setMRMLTableNode(tableNode)
        table.visible = tableNode is not None
        if tableNode is not None:
            rows = min(tableNode.GetNumberOfRows(), ROWS) + 1  # and the header
            table.setFixedHeight(rows * table.verticalHeader().defaultSectionSize + MARGIN)

    def clear(self) -> None:
        """Forget the result; the views show again what they showed before its map."""
        self._written = None
        self._ui.overlayBox.checked = False
        self._ui.show3DBox.checked = False
        self._ui.resultTable.setMRMLTableNode(None)
        self._segmentTable.show(None)
        self._ui.resultButton.visible = False

    @property
    def edited(self) -> bool:
        """Whether someone changed the segments since they were written."""
        return self.result is not None and _state(self.result) != self._written

    def settle(self) -> None:
        """The segments are again as they were written."""
        self._written = _state(self.result) if self.result is not None else None
        if isinstance(self.result, Result):
            self._showQuality(self.result)

    def refresh(self) -> None:
        """Show what became of the segments in the editor; the table of a sequence stays as it is."""
        if not isinstance(self.result, Result):
            return
        if self.edited and self.result.tableNode.GetColumnIndex(VOXELS) >= 0:
            measureTable(self.result.tableNode, self.result.segmentationNode, self.result.volumetry)
        self._showQuality(self.result)
        self._ui.show3DBox.checked = self._hasSurfaces()  # the editor can show and hide them, too

    def uses(self, node: Any) -> bool:
        """Whether the result is of no use without this node."""
        return self.result is not None and node in self.result.nodes

    def forgetMap(self, node: Any) -> None:
        """Take a map that is being removed out of the views."""
        if node is self._overlay.mapNode:
            self._ui.overlayBox.checked = False
            self._ui.overlayBox.visible = False

    def _hasSurfaces(self) -> bool:
        if not isinstance(self.result, Result):
            return False
        return bool(self.result.segmentationNode.GetSegmentation().ContainsRepresentation(_SURFACE))

    def _onShow3D(self, shown: bool) -> None:
        if not isinstance(self.result, Result):
            return
        node = self.result.segmentationNode
        if shown:
            isNew = not self._hasSurfaces()
            node.CreateClosedSurfaceRepresentation()
            layoutManager = slicer.app.layoutManager()
            if isNew and layoutManager:
                layoutManager.resetThreeDViews()  # what was looked at may be far from them
        else:
            node.RemoveClosedSurfaceRepresentation()

    def _onOverlay(self, shown: bool) -> None:
        self._ui.opacitySlider.enabled = shown
        if shown and isinstance(self.result, Result):
            self._ui.explanationOverlayBox.checked = False
            self._overlay.show(self.result.mapNodes[_ENTROPY], self.result.volumeNode, self._ui.opacitySlider.value)
        else:
            self._overlay.hide()

    def _onOpacity(self, value: float) -> None:
        self._overlay.setOpacity(value)


def _state(result: Result | Classification) -> list[int]:
    """When each segment's voxels were changed last."""
    if not isinstance(result, Result):
        return []
    segmentation = result.segmentationNode.GetSegmentation()
    segments = [segmentation.GetNthSegment(n) for n in range(segmentation.GetNumberOfSegments())]
    layers = [segment.GetRepresentation(_LABELMAP) for segment in segments]
    return [layer.GetMTime() if layer else 0 for layer in layers]
