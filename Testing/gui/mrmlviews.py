"""Stand-ins for Slicer's widgets that show nodes: tables, charts and segments."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from . import plotview
from .ctkwidgets import stored, withSlots
from .mrmlwidgets import SEGMENT_EVENTS, Observer, qMRMLWidget
from .pythonqt import STAND_INS, Qt

STAND_INS.add(__name__)


class qMRMLTableView(QtWidgets.QTableView):
    """Shows a table node."""

    mrmlSceneChanged = QtCore.Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        self._scene = self._node = self._viewNode = None
        self._observer = Observer(self)
        self._model = QtGui.QStandardItemModel(self)
        self._proxy = QtCore.QSortFilterProxyModel(self)
        self._proxy.setSourceModel(self._model)
        self.setModel(self._proxy)
        self.horizontalHeader().stretchLastSection = False
        self.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Expanding)

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    def mrmlTableNode(self) -> Any:
        return self._node

    def setMRMLTableNode(self, node: Any) -> None:
        self._node = node
        self._observer.clear()
        if node:
            self._observer.watch(node, vtk.vtkCommand.ModifiedEvent, lambda *_: self._update())
        self._update()
        self.horizontalHeader().minimumSectionSize = 60
        self.resizeColumnsToContents()

    def mrmlTableViewNode(self) -> Any:
        return self._viewNode

    def setMRMLTableViewNode(self, node: Any) -> None:
        self._viewNode = node

    def tableModel(self) -> Any:
        return self._model

    def sortFilterProxyModel(self) -> Any:
        return self._proxy

    def _update(self) -> None:
        model, table = self._model, self._node.GetTable() if self._node else None
        model.clear()
        if table is None or not table.GetNumberOfColumns():
            return
        named = self._node.GetUseColumnTitleAsColumnHeader()
        first = int(self._node.GetUseFirstColumnAsRowHeader())
        columns = range(first, table.GetNumberOfColumns())
        for place, column in enumerate(columns):
            name = table.GetColumnName(column) or ""
            unit = self._node.GetColumnUnitLabel(name)
            title = self._node.GetColumnTitle(name) or name
            header = f"{title} [{unit}]" if unit else title
            values = [table.GetValue(row, column).ToString() for row in range(table.GetNumberOfRows())]
            texts = values if named else [name, *values]
            for row, text in enumerate(texts):
                item = QtGui.QStandardItem(text)
                item.setEditable(not self._node.GetLocked())
                item.setToolTip(self._node.GetColumnDescription(name))
                model.setItem(row, place, item)
            model.setHorizontalHeaderItem(place, QtGui.QStandardItem(header if named else chr(ord("A") + place)))
        if first:
            rows = [table.GetValue(row, 0).ToString() for row in range(table.GetNumberOfRows())]
            model.setVerticalHeaderLabels(rows)

    transposed = stored(bool, "transposed", False)
    firstRowLocked = stored(bool, "firstRowLocked", False)
    firstColumnLocked = stored(bool, "firstColumnLocked", False)


class qMRMLPlotView(QtWidgets.QLabel):
    """Draws the chart that the plot view node shows, or names it while there are no points."""

    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        self._viewNode: Any = None
        self._observer, self._chartObserver = Observer(self), Observer(self)
        self.setMinimumHeight(150)
        self.setAlignment(Qt.AlignCenter)

    def mrmlPlotViewNode(self) -> Any:
        return self._viewNode

    def setMRMLPlotViewNode(self, node: Any) -> None:
        self._viewNode = node
        self._observer.clear()
        if node:
            self._observer.watch(node, vtk.vtkCommand.ModifiedEvent, lambda *_: self._show())
        self._show()

    def _show(self) -> None:
        chart = self._chart()
        self.text = f"[chart: {chart.GetTitle() or chart.GetName()}]" if chart else "[no chart]"
        self._chartObserver.clear()
        for node in plotview.nodesOf(chart) if chart else ():
            self._chartObserver.watch(node, vtk.vtkCommand.ModifiedEvent, lambda *_: self.update())
        self.update()

    def _chart(self) -> Any:
        return self._viewNode.GetPlotChartNode() if self._viewNode else None

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        chart = self._chart()
        if chart is not None:
            plotview.complain(chart)
        if chart is None or not any(points for _, points in plotview.seriesOf(chart)):
            super().paintEvent(event)
            return
        painter = QtGui.QPainter(self)
        plotview.draw(painter, self.rect, chart)
        painter.end()

    def fitToContent(self) -> None:
        pass


class qMRMLPlotWidget(QtWidgets.QWidget):
    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._view = qMRMLPlotView()
        self._controller = QtWidgets.QWidget()
        layout.addWidget(self._controller)
        layout.addWidget(self._view, 1)
        self._scene: Any = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene

    def mrmlPlotViewNode(self) -> Any:
        return self._view.mrmlPlotViewNode()

    def setMRMLPlotViewNode(self, node: Any) -> None:
        self._view.setMRMLPlotViewNode(node)

    def plotView(self) -> qMRMLPlotView:
        return self._view

    def plotController(self) -> QtWidgets.QWidget:
        return self._controller


class qMRMLSegmentsTableView(qMRMLWidget):
    """Lists the segments of a segmentation with their colors."""

    segmentAboutToBeModified = QtCore.Signal(str)
    selectionChanged = QtCore.Signal(object, object)

    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        self._node: Any = None
        self._observer = Observer(self)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._table = QtWidgets.QTableWidget(0, 1)
        self._table.setHorizontalHeaderLabels(["Name"])
        self._table.horizontalHeader().stretchLastSection = True
        self._table.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectRows)
        self._table.itemSelectionChanged.connect(lambda: self.selectionChanged.emit(None, None))
        layout.addWidget(self._table)

    def segmentationNode(self) -> Any:
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        self._node = node
        self._observer.clear()
        for event in SEGMENT_EVENTS if node else ():
            self._observer.watch(node, getattr(slicer.vtkSegmentation, event), lambda *_: self._update())
        self._update()

    def _identifiers(self) -> tuple:
        return tuple(self._node.GetSegmentation().GetSegmentIDs()) if self._node else ()

    def _update(self) -> None:
        identifiers = self._identifiers()
        self._table.rowCount = len(identifiers)
        for row, identifier in enumerate(identifiers):
            segment = self._node.GetSegmentation().GetSegment(identifier)
            item = QtWidgets.QTableWidgetItem(segment.GetName())
            item.setData(Qt.DecorationRole, QtGui.QColor.fromRgbF(*segment.GetColor()))
            item.setData(Qt.UserRole, identifier)
            self._table.setItem(row, 0, item)

    def tableWidget(self) -> QtWidgets.QTableWidget:
        return self._table

    def selectedSegmentIDs(self) -> tuple:
        return tuple(item.data(Qt.UserRole) for item in self._table.selectedItems())

    def setSelectedSegmentIDs(self, identifiers: Any) -> None:
        self._table.clearSelection()
        for row in range(self._table.rowCount):
            item = self._table.item(row, 0)
            item.setSelected(item.data(Qt.UserRole) in identifiers)

    def clearSelection(self) -> None:
        self._table.clearSelection()

    def rowForSegmentID(self, identifier: str) -> int:
        return self._identifiers().index(identifier) if identifier in self._identifiers() else -1

    def segmentIDForRow(self, row: int) -> str:
        return self._identifiers()[row]

    segmentCount = QtCore.Property(int, lambda self: len(self._identifiers()))
    selectionMode = stored(int, "selectionMode", 3)
    headerVisible = stored(bool, "headerVisible", True)
    visibilityColumnVisible = stored(bool, "visibilityColumnVisible", True)
    colorColumnVisible = stored(bool, "colorColumnVisible", True)
    opacityColumnVisible = stored(bool, "opacityColumnVisible", True)
    statusColumnVisible = stored(bool, "statusColumnVisible", False)
    layerColumnVisible = stored(bool, "layerColumnVisible", False)
    readOnly = stored(bool, "readOnly", False)
    filterBarVisible = stored(bool, "filterBarVisible", False)
    textFilter = stored(str, "textFilter", "")


withSlots(qMRMLTableView, "transposed firstRowLocked firstColumnLocked")
withSlots(
    qMRMLSegmentsTableView,
    "selectionMode headerVisible visibilityColumnVisible colorColumnVisible readOnly opacityColumnVisible"
    " statusColumnVisible layerColumnVisible filterBarVisible textFilter",
)

WIDGETS = [
    qMRMLTableView,
    qMRMLPlotView,
    qMRMLPlotWidget,
    qMRMLSegmentsTableView,
]
