"""The table of a result's segments: in the colors of the views, with what is known of each; a click goes there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..scene.result import Result
from ..scene.tables import ASYMMETRY, SEGMENT, SHARE, VOLUME, VOXELS
from . import swatches
from .plaintext import tip

ROWS = 6  # seen without scrolling
PADDING = 6  # pixels, of a row around its text


class SegmentTable:
    """Fills and watches a QTableWidget; it is hidden where the result's table has no row a segment.

    Args:
        onChosen: is called with the name of the segment that is clicked.
    """

    def __init__(self, widget: Any, onChosen: Callable[[str], None]) -> None:
        self._widget, self._onChosen = widget, onChosen
        self._result: Result | None = None
        self._names: list[str] = []
        widget.verticalHeader().setVisible(False)
        widget.verticalHeader().setDefaultSectionSize(widget.fontMetrics().height() + PADDING)
        widget.setIconSize(qt.QSize(swatches.SIDE, swatches.SIDE))
        widget.connect("cellClicked(int,int)", self._onClicked)

    def show(self, result: Result | None) -> bool:
        """Show this result, as its table and its segments are now; whether there is a row a segment."""
        self._result = result if result is not None and result.tableNode.GetColumnIndex(VOXELS) >= 0 else None
        self._widget.visible = self._result is not None
        if self._result is None:
            return False
        table, quality = self._result.tableNode, self._result.quality
        expected = quality.per_segment if quality else {}
        titles = {VOLUME: _("mL"), SHARE: _("% of TIV"), ASYMMETRY: _("Asym. (%)")}  # short: names need the room
        columns = [n for n in range(table.GetNumberOfColumns()) if table.GetColumnName(n) not in (SEGMENT, VOXELS)]
        headers = [_("Segment"), *(titles.get(name, name) for name in map(table.GetColumnName, columns))]
        headers += [_("Expected Dice")] if expected else []
        self._names = [table.GetCellText(row, 0) for row in range(table.GetNumberOfRows())]
        self._widget.clear()
        self._widget.setColumnCount(len(headers))
        self._widget.setRowCount(len(self._names))
        self._widget.setHorizontalHeaderLabels(headers)
        for n, place in enumerate(columns, start=1):
            name = table.GetColumnName(place)
            self._widget.horizontalHeaderItem(n).setToolTip(tip(table.GetColumnDescription(name) or name))
        if expected:
            about = _("How well the segment probably agrees with an expert's, by how sure the model was of its voxels.")
            self._widget.horizontalHeaderItem(len(headers) - 1).setToolTip(tip(about))
        for row, name in enumerate(self._names):
            self._write(row, 0, name)
            for n, place in enumerate(columns, start=1):
                self._write(row, n, table.GetCellText(row, place))
            if expected:
                self._write(row, len(headers) - 1, f"{expected[name]:.2f}" if name in expected else "")
            self._dress(row, name)
        self._resize(len(headers))
        return True

    def _write(self, row: int, column: int, text: str) -> None:
        item = qt.QTableWidgetItem(text)
        if column:
            item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
        self._widget.setItem(row, column, item)

    def _dress(self, row: int, name: str) -> None:
        """The first cell in the color that the views have, and what is more to tell of the segment."""
        assert self._result
        segment = self._segment(name)
        item = self._widget.item(row, 0)
        if segment is not None:
            item.setIcon(swatches.ofSegment(segment.GetColor()))
        text = _("{name}, {count} voxels").format(
            name=name,
            count=self._result.tableNode.GetCellText(row, self._result.tableNode.GetColumnIndex(VOXELS)),
        )
        item.setToolTip(tip(text))

    def _resize(self, columns: int) -> None:
        widget, header = self._widget, self._widget.horizontalHeader()
        for column in range(columns):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents if column else qt.QHeaderView.Stretch)
        rows = min(len(self._names), ROWS)
        height = header.sizeHint.height() + rows * widget.verticalHeader().defaultSectionSize
        widget.setFixedHeight(height + 2 * widget.frameWidth)

    def _segment(self, name: str) -> Any:
        assert self._result
        segmentation = self._result.segmentationNode.GetSegmentation()
        return segmentation.GetSegment(segmentation.GetSegmentIdBySegmentName(name))

    def _onClicked(self, row: int, _column: int) -> None:
        """Show it in all slice views, if anything of it was drawn."""
        name = self._names[row]
        if self._result is None or self._segment(name) is None:
            return
        node = self._result.segmentationNode
        center = node.GetSegmentCenterRAS(node.GetSegmentation().GetSegmentIdBySegmentName(name))
        if center is not None:
            slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *center)
        self._onChosen(name)
