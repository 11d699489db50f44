"""Stand-ins for Slicer's widgets that show nodes: tables, charts, segments and the Segment Editor."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from . import plotview
from .ctkwidgets import stored
from .mrmlwidgets import SEGMENT_EVENTS, Observer, qMRMLNodeComboBox, qMRMLWidget
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


class qMRMLSegmentEditorWidget(qMRMLWidget):
    """The Segment Editor's frame: which nodes, segment and effect are current. Its effects do nothing.

    All of that lives in the editor node; without one, nothing can be set, as in Slicer.
    """

    currentSegmentIDChanged = QtCore.Signal(str)
    sourceVolumeNodeChanged = QtCore.Signal(object)
    masterVolumeNodeChanged = QtCore.Signal(object)
    segmentationNodeChanged = QtCore.Signal(object)
    _EFFECTS = ("Paint", "Draw", "Erase", "Level tracing", "Grow from seeds", "Threshold", "Margin", "Smoothing",
                "Scissors", "Islands", "Logical operators", "Mask volume", "Hollow", "Fill between slices")  # fmt: skip

    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        self._editorNode: Any = None
        self._observer = Observer(self)
        self._shown: tuple = (None, None, "")
        self._order: tuple = ()
        self._segmentationBox, self._volumeBox = qMRMLNodeComboBox(), qMRMLNodeComboBox()
        self._segmentationBox.nodeTypes = ["vtkMRMLSegmentationNode"]
        self._volumeBox.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        self._volumeBox.addEnabled = False
        self._table = qMRMLSegmentsTableView()
        self._table.setMinimumHeight(90)
        self._form = form = QtWidgets.QFormLayout()
        form.addRow("Segmentation:", self._segmentationBox)
        form.addRow("Source volume:", self._volumeBox)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addWidget(self._table)
        layout.addWidget(QtWidgets.QLabel("[effects of the Segment Editor]"))
        self._segmentationBox.currentNodeChanged.connect(self.setSegmentationNode)
        self._volumeBox.currentNodeChanged.connect(self.setSourceVolumeNode)
        self._table.selectionChanged.connect(self._onSelected)

    def setMRMLScene(self, scene: Any) -> None:
        blockers = [QtCore.QSignalBlocker(box) for box in (self._segmentationBox, self._volumeBox)]
        super().setMRMLScene(scene)
        self._segmentationBox.setMRMLScene(scene)
        self._volumeBox.setMRMLScene(scene)
        del blockers
        self.updateWidgetFromMRML()

    def mrmlSegmentEditorNode(self) -> Any:
        return self._editorNode

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        self._editorNode = node
        self._observer.clear()
        if node:
            self._observer.watch(node, vtk.vtkCommand.ModifiedEvent, lambda *_: self.updateWidgetFromMRML())
            self.updateWidgetFromMRML()

    def updateWidgetFromMRML(self) -> None:
        node, scene = self._editorNode, self._scene
        if not scene or scene.IsClosing() or scene.IsBatchProcessing():
            return
        for widget in (self._segmentationBox, self._volumeBox):
            widget.enabled = node is not None
        if not node:
            return
        segmentation, volume = node.GetSegmentationNode(), node.GetSourceVolumeNode()
        shown = (segmentation, volume, node.GetSelectedSegmentID() or "")
        before, self._shown = self._shown, shown
        for box, chosen in ((self._segmentationBox, segmentation), (self._volumeBox, volume)):
            blocker = QtCore.QSignalBlocker(box)
            box.setCurrentNode(chosen)
            del blocker
        self._table.setSegmentationNode(segmentation)
        signals = (self.segmentationNodeChanged, self.sourceVolumeNodeChanged, self.currentSegmentIDChanged)
        for signal, old, new in zip(signals, before, shown, strict=True):
            if old is not new and old != new:
                signal.emit(new)

    def _onSelected(self, *_: Any) -> None:
        self.setCurrentSegmentID(next(iter(self._table.selectedSegmentIDs()), ""))

    def _node(self) -> Any:
        if self._editorNode is None:
            vtk.vtkOutputWindow.GetInstance().DisplayErrorText("Segment Editor: no editor node is set")
        return self._editorNode

    def segmentationNode(self) -> Any:
        return self._editorNode.GetSegmentationNode() if self._editorNode else None

    def segmentationNodeID(self) -> str:
        return node.GetID() if (node := self.segmentationNode()) else ""

    def setSegmentationNode(self, node: Any) -> None:
        if node is not self.segmentationNode() and self._node():
            self._editorNode.SetAndObserveSegmentationNode(node)
            self.setActiveEffect(None)

    def setSegmentationNodeID(self, identifier: str) -> None:
        self.setSegmentationNode(self._scene.GetNodeByID(identifier) if identifier else None)

    def sourceVolumeNode(self) -> Any:
        return self._editorNode.GetSourceVolumeNode() if self._editorNode else None

    def sourceVolumeNodeID(self) -> str:
        return node.GetID() if (node := self.sourceVolumeNode()) else ""

    def setSourceVolumeNode(self, node: Any) -> None:
        if node is not self.sourceVolumeNode() and self._node():
            self._editorNode.SetAndObserveSourceVolumeNode(node)

    def setSourceVolumeNodeID(self, identifier: str) -> None:
        self.setSourceVolumeNode(self._scene.GetNodeByID(identifier) if identifier else None)

    def currentSegmentID(self) -> str:
        return (self._editorNode.GetSelectedSegmentID() or "") if self._editorNode else ""

    def setCurrentSegmentID(self, identifier: str) -> None:
        if identifier != self.currentSegmentID() and self._node():
            self._editorNode.SetSelectedSegmentID(identifier)

    def availableEffectNames(self) -> tuple:
        return self._EFFECTS

    def effectNameOrder(self) -> tuple:
        return self._order

    def setEffectNameOrder(self, names: Any) -> None:
        self._order = tuple(names)

    def activeEffect(self) -> Any:
        """The effect's name, where Slicer gives the effect itself; None when there is none."""
        return (self._editorNode.GetActiveEffectName() or None) if self._editorNode else None

    def setActiveEffectByName(self, name: str) -> None:
        if self._node():
            self._editorNode.SetActiveEffectName(name if name in self._EFFECTS else "")

    def setActiveEffect(self, effect: None) -> None:
        if self._editorNode:
            self._editorNode.SetActiveEffectName("")

    def installKeyboardShortcuts(self, parent: QtWidgets.QWidget | None = None) -> None:
        self._shortcuts = True

    def uninstallKeyboardShortcuts(self) -> None:
        self._shortcuts = False

    def setupViewObservations(self) -> None:
        self._observing = True

    def removeViewObservations(self) -> None:
        self._observing = False

    def saveStateForUndo(self) -> None:
        pass

    def undo(self) -> None:
        pass

    def redo(self) -> None:
        pass

    def rotateSliceViewsToSegmentation(self) -> None:
        pass

    def showSourceVolumeInSliceViewers(self, forceShowInBackground: bool = False, fitSlice: bool = False) -> None:
        pass

    def setSegmentationNodeSelectorVisible(self, visible: bool) -> None:
        self._segmentationBox.visible = self._form.labelForField(self._segmentationBox).visible = visible

    def setSourceVolumeNodeSelectorVisible(self, visible: bool) -> None:
        self._volumeBox.visible = self._form.labelForField(self._volumeBox).visible = visible

    segmentationNodeSelectorVisible = QtCore.Property(
        bool, lambda self: not self._segmentationBox.isHidden(), setSegmentationNodeSelectorVisible
    )
    sourceVolumeNodeSelectorVisible = QtCore.Property(
        bool, lambda self: not self._volumeBox.isHidden(), setSourceVolumeNodeSelectorVisible
    )
    maskingSectionVisible = stored(bool, "maskingSectionVisible", True)
    specifyGeometryButtonVisible = stored(bool, "specifyGeometryButtonVisible", True)
    show3DButtonVisible = stored(bool, "show3DButtonVisible", True)
    addRemoveSegmentButtonsVisible = stored(bool, "addRemoveSegmentButtonsVisible", True)
    autoShowSourceVolumeNode = stored(bool, "autoShowSourceVolumeNode", True)
    switchToSegmentationsButtonVisible = stored(bool, "switchToSegmentationsButtonVisible", True)
    undoEnabled = stored(bool, "undoEnabled", True)
    maximumNumberOfUndoStates = stored(int, "maximumNumberOfUndoStates", 10)
    readOnly = stored(bool, "readOnly", False)
    effectColumnCount = stored(int, "effectColumnCount", 2)
    unorderedEffectsVisible = stored(bool, "unorderedEffectsVisible", True)
    jumpToSelectedSegmentEnabled = stored(bool, "jumpToSelectedSegmentEnabled", False)


# Properties whose setters are slots
_SLOTS = {
    qMRMLTableView: "transposed firstRowLocked firstColumnLocked",
    qMRMLSegmentsTableView: "selectionMode headerVisible visibilityColumnVisible colorColumnVisible readOnly"
    " opacityColumnVisible statusColumnVisible layerColumnVisible filterBarVisible textFilter",
    qMRMLSegmentEditorWidget: "autoShowSourceVolumeNode maskingSectionVisible specifyGeometryButtonVisible readOnly"
    " show3DButtonVisible addRemoveSegmentButtonsVisible switchToSegmentationsButtonVisible undoEnabled"
    " maximumNumberOfUndoStates effectColumnCount jumpToSelectedSegmentEnabled",
}
for _widget, _names in _SLOTS.items():
    for _name in _names.split():
        _slot = f"set{_name[0].upper()}{_name[1:]}"
        setattr(_widget, _slot, lambda self, value, name=_name: setattr(self, name, value))

WIDGETS = [
    qMRMLTableView,
    qMRMLPlotView,
    qMRMLPlotWidget,
    qMRMLSegmentsTableView,
    qMRMLSegmentEditorWidget,
]
