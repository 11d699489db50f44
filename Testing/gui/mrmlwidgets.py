"""Stand-ins for Slicer's choosers of nodes and segments, on the real scene, with the names in their headers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from .ctkwidgets import ctkCheckableComboBox, ctkComboBox, ctkSliderWidget, forwarded, stored
from .pythonqt import STAND_INS, Qt

STAND_INS.add(__name__)

_ID, _COMMAND = Qt.UserRole, Qt.UserRole + 1


class Observer:
    """VTK's observers of a widget, which end with it."""

    def __init__(self, widget: QtWidgets.QWidget):
        self._tags: list[tuple[Any, int]] = []
        widget.destroyed.connect(self.clear)

    def watch(self, observed: Any, event: Any, callback: Callable) -> None:
        self._tags.append((observed, observed.AddObserver(event, callback)))

    def watchNodes(self, scene: Any, event: Any, callback: Callable) -> None:
        """For events of the scene that tell a node."""

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def call(caller: Any, name: str, node: Any) -> None:
            callback(node)

        self.watch(scene, event, call)

    def clear(self, *_: Any) -> None:
        for observed, tag in self._tags:
            observed.RemoveObserver(tag)
        self._tags.clear()


SEGMENT_EVENTS = ("SegmentAdded", "SegmentRemoved", "SegmentModified")


class qMRMLWidget(QtWidgets.QWidget):
    mrmlSceneChanged = QtCore.Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        self._scene: Any = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """A choice of nodes: "None", the nodes of the scene in their order, and commands such as "Create new ...".

    It emits currentNodeChanged where QComboBox tells that the current item changed. When the current node is removed
    from the scene, the node that takes its row becomes the current one, as in Slicer; "None" when there is none.
    """

    currentNodeChanged = QtCore.Signal((object,), (bool,))
    currentNodeIDChanged = QtCore.Signal(str)
    nodeActivated = QtCore.Signal(object)
    nodeAdded = QtCore.Signal(object)
    nodeAddedByUser = QtCore.Signal(object)
    nodeAddedByUserAction = QtCore.Signal(object)
    nodeAboutToBeRemoved = QtCore.Signal(object)
    nodeAboutToBeEdited = QtCore.Signal(object)
    currentNodeRenamed = QtCore.Signal(str)

    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        self._scene: Any = None
        self._sceneObserver, self._nodeObserver = Observer(self), Observer(self)
        self._nodeAttributes: dict[str, tuple[str, Any]] = {}
        self._baseNames: dict[str, str] = {}
        self._labels: dict[str, str] = {}
        self._actions: list[QtGui.QAction] = []
        self._requested: str | None = None
        self._switching = False
        self._comboBox = self._makeComboBox()
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._comboBox)
        self.setSizePolicy(QtWidgets.QSizePolicy.Preferred, QtWidgets.QSizePolicy.Fixed)
        self._comboBox.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Expanding)
        self._comboBox.setFocusProxy(self)  # as in Slicer: Tab passes by, until a panel takes this proxy away
        self._comboBox.currentTextChanged.connect(self._onCurrentChanged)
        self._comboBox.activated.connect(self._onActivated)
        self._comboBox.view().clicked.connect(self._onClicked)
        self._updateExtraItems()
        self.enabled = False

    def _makeComboBox(self) -> QtWidgets.QComboBox:
        return ctkComboBox()

    # -- scene

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._scene:
            return
        previous = self.currentNodeID if self._nodeRows() else None
        self._sceneObserver.clear()
        self._nodeObserver.clear()
        self._scene = scene
        if scene:
            self._sceneObserver.watchNodes(scene, scene.NodeAddedEvent, self._onAdded)
            self._sceneObserver.watchNodes(scene, scene.NodeAboutToBeRemovedEvent, self._onRemoved)
            for event in (scene.EndImportEvent, scene.EndCloseEvent):
                self._sceneObserver.watch(scene, event, lambda *_: self._refill())
        self._switching = True
        self._refill()
        self._switching = False
        requested, self._requested = self._requested, None
        self.setCurrentNodeID(previous if previous is not None else requested or self.currentNodeID)
        self.enabled = scene is not None

    def _accepts(self, node: Any) -> bool:
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        for kind in self.nodeTypes or ("vtkMRMLNode",):
            if not node.IsA(kind) or (not self.showChildNodeTypes and node.GetClassName() != kind):
                continue
            if self.showChildNodeTypes and any(node.IsA(hidden) for hidden in self.hideChildNodeTypes):
                return False
            if kind in self._nodeAttributes:
                name, wanted = self._nodeAttributes[kind]
                value = node.GetAttribute(name)
                return value is not None and (wanted is None or str(wanted) == value)
            return True
        return False

    def _onAdded(self, node: Any) -> None:
        if not self._scene.IsImporting():
            self._insert(node)

    def _insert(self, node: Any) -> None:
        if not self._accepts(node):
            return
        rows = self._nodeRows()
        self._comboBox.insertItem(rows[-1] + 1 if rows else int(self.noneEnabled), node.GetName() or "", node.GetID())
        self._nodeObserver.watch(node, vtk.vtkCommand.ModifiedEvent, lambda *_: self._onModified(node))
        self.nodeAdded.emit(node)

    def _onModified(self, node: Any) -> None:
        if self._scene and not (self._scene.IsClosing() or self._scene.IsImporting()):
            row = self._comboBox.findData(node.GetID(), _ID)
            if row >= 0 and self._comboBox.itemText(row) != node.GetName():
                self._comboBox.setItemText(row, node.GetName())

    def _onRemoved(self, node: Any) -> None:
        if self._scene.IsClosing():
            return
        row = self._comboBox.findData(node.GetID(), _ID)
        if row >= 0:
            self.nodeAboutToBeRemoved.emit(node)
            self._comboBox.removeItem(row)
            self._refreshIfHidden()

    def _refreshIfHidden(self) -> None:
        if self.currentNode() is None:
            self.setCurrentNode(None)

    def _refill(self) -> None:
        """Read the whole scene again."""
        current = self.currentNodeID
        self._nodeObserver.clear()
        blocked = self._comboBox.blockSignals(True)
        before = self._comboBox.currentIndex
        for row in reversed(self._nodeRows()):
            self._comboBox.removeItem(row)
        nodes = [self._scene.GetNthNode(i) for i in range(self._scene.GetNumberOfNodes())] if self._scene else []
        for node in nodes:
            self._insert(node)
        self._updateExtraItems()
        row = self._comboBox.findData(current, _ID) if current else -1
        self._comboBox.setCurrentIndex(row if row >= 0 else self._nothing())
        self._comboBox.blockSignals(blocked)
        if (current and row < 0) or before != self._comboBox.currentIndex:
            self._onCurrentChanged()

    # -- items

    def _nothing(self) -> int:
        """The row that stands for no node."""
        return 0 if self.noneEnabled else -1

    def _nodeRows(self) -> list[int]:
        return [row for row in range(self._comboBox.count) if self._comboBox.itemData(row, _ID)]

    def _updateExtraItems(self) -> None:
        """ "None" before the nodes, commands after them."""
        box = self._comboBox
        current, wasNothing = self.currentNodeID, self.currentNode() is None
        blocked = box.blockSignals(True)
        for row in reversed([row for row in range(box.count) if not box.itemData(row, _ID)]):
            box.removeItem(row)
        if self.noneEnabled:
            box.insertItem(0, self.noneDisplay)
        commands = self._commands() if self._scene else []
        if commands:
            box.insertSeparator(box.count)
        for text, command in commands:
            box.addItem(text)
            box.setItemData(box.count - 1, command, _COMMAND)
            box.model().item(box.count - 1).setFlags(Qt.ItemIsEnabled)  # to be clicked, not selected
        box.setCurrentIndex(self._nothing() if wasNothing else box.findData(current, _ID))
        box.blockSignals(blocked)
        box.defaultText = f"Select a {self.nodeTypeLabel(next(iter(self.nodeTypes), ''))}"

    def _commands(self) -> list[tuple[str, Any]]:
        kinds = list(self.nodeTypes)
        label = self.nodeTypeLabel(kinds[0]) if len(kinds) == 1 else "node"
        commands: list[tuple[str, Any]] = []
        if self.renameEnabled:
            commands.append((f"Rename current {label}", self.renameCurrentNode))
        if self.editEnabled:
            commands.append((f"Edit current {label}", self.editCurrentNode))
        if self.addEnabled:
            for kind in kinds:
                commands.append((f"Create new {self.nodeTypeLabel(kind)}", lambda kind=kind: self._create(kind)))
                if self.renameEnabled:
                    title = f"Create new {self.nodeTypeLabel(kind)} as..."
                    commands.append((title, lambda kind=kind: self._create(kind, ask=True)))
        if self.removeEnabled:
            commands.append((f"Delete current {label}", self.removeCurrentNode))
        return [*commands, *((action.text, action.trigger) for action in self._actions)]

    def _create(self, kind: str, ask: bool = False) -> None:
        title = f"Create new {self.nodeTypeLabel(kind)}"
        name = QtWidgets.QInputDialog.getText(self, title, "New name:") if ask else ""
        node = self.addNode(kind) if name or not ask else None
        if node:
            node.SetName(name or node.GetName())
            self.setCurrentNode(node)
            self.nodeAddedByUserAction.emit(node)

    def _onCurrentChanged(self, *_: Any) -> None:
        if self._switching:
            return
        node, row = self.currentNode(), self._comboBox.currentIndex
        if node is None and row != self._nothing():  # a command has become current
            last = self.nodeFromIndex(self.nodeCount() - 1)
            if last:
                self.setCurrentNode(last)
            return
        self.currentNodeChanged.emit(node)
        self.currentNodeChanged[bool].emit(node is not None)
        self.currentNodeIDChanged.emit(node.GetID() if node else "")

    def _onActivated(self, row: int) -> None:
        if self._comboBox.itemData(row, _ID) or row == self._nothing():
            self.nodeActivated.emit(self.currentNode())

    def _onClicked(self, index: QtCore.QModelIndex) -> None:
        command = index.data(_COMMAND)
        if command:
            self._comboBox.hidePopup()
            command()

    # -- what Slicer's Python can call

    def currentNode(self) -> Any:
        return self._nodeAt(self._comboBox.currentIndex)

    def _nodeAt(self, row: int) -> Any:
        identifier = self._comboBox.itemData(row, _ID) if row >= 0 else None
        return self._scene.GetNodeByID(identifier) if self._scene and identifier else None

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentNodeID(node.GetID() if node is not None else "")

    def setCurrentNodeID(self, identifier: str | None) -> None:
        if not self._scene:
            self._requested = identifier
        row = self._comboBox.findData(identifier, _ID) if identifier else -1
        self._comboBox.setCurrentIndex(row if row >= 0 else self._nothing())

    def setCurrentNodeIndex(self, index: int) -> None:
        index = index if index < self.nodeCount() else -1
        self._comboBox.setCurrentIndex(index + int(self.noneEnabled))

    def nodeCount(self) -> int:
        return len(self._nodeRows())

    def nodeFromIndex(self, index: int) -> Any:
        return self._nodeAt(index + int(self.noneEnabled))

    def nodeTypeLabel(self, kind: str) -> str:
        label = self._labels.get(kind, "")
        if not label and self._scene and kind:
            label = self._scene.GetTypeDisplayNameByClassName(kind)
        return label or "node"

    def setNodeTypeLabel(self, label: str, kind: str) -> None:
        self._labels[kind] = label
        self._updateExtraItems()

    def addAttribute(self, kind: str, name: str, value: Any = None) -> None:
        self._nodeAttributes[kind] = (name, value)
        self._refill()

    def removeAttribute(self, kind: str, name: str) -> None:
        self._nodeAttributes.pop(kind, None)
        self._refill()

    def addMenuAction(self, action: QtGui.QAction) -> None:
        self._actions.append(action)
        self._updateExtraItems()

    def addNode(self, kind: str | None = None) -> Any:
        kind = kind or next(iter(self.nodeTypes), None)
        if kind not in self.nodeTypes or not self._scene:
            return None
        node = self._scene.CreateNodeByClass(kind)
        node.UnRegister(None)
        baseName = self._baseNames.get(kind) or self._baseNames.get("", "")
        if baseName or not node.GetName():
            node.SetName(self._scene.GetUniqueNameByString(baseName or node.GetDefaultNodeNamePrefix()))
        for name, value in self._nodeAttributes.values():
            node.SetAttribute(name, str(value or ""))
        node = self._scene.AddNode(node)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        self._scene.RemoveNode(self.currentNode())

    def renameCurrentNode(self) -> None:
        node = self.currentNode()
        if node:
            title = f"Rename {self.nodeTypeLabel(node.GetClassName())}"
            name = QtWidgets.QInputDialog.getText(self, title, "New name:", text=node.GetName())
            if name:
                node.SetName(name)
                self.currentNodeRenamed.emit(name)

    def editCurrentNode(self) -> None:
        self.nodeAboutToBeEdited.emit(self.currentNode())

    def sortFilterProxyModel(self) -> Any:
        return self._comboBox.model()

    def _setBaseName(self, name: str) -> None:
        self._baseNames[""] = name

    currentNodeID = QtCore.Property(
        str, lambda self: node.GetID() if (node := self.currentNode()) else "", setCurrentNodeID
    )
    nodeTypes = stored("QStringList", "nodeTypes", (), _refill)
    showHidden = stored(bool, "showHidden", False, _refill)
    showChildNodeTypes = stored(bool, "showChildNodeTypes", True, _refill)
    hideChildNodeTypes = stored("QStringList", "hideChildNodeTypes", (), _refill)
    baseName = QtCore.Property(str, lambda self: self._baseNames.get("", ""), _setBaseName)
    noneEnabled = stored(bool, "noneEnabled", False, _updateExtraItems)
    addEnabled = stored(bool, "addEnabled", True, _updateExtraItems)
    removeEnabled = stored(bool, "removeEnabled", True, _updateExtraItems)
    editEnabled = stored(bool, "editEnabled", False, _updateExtraItems)
    renameEnabled = stored(bool, "renameEnabled", False, _updateExtraItems)
    interactionNodeSingletonTag = stored(str, "interactionNodeSingletonTag", "Singleton")
    selectNodeUponCreation = stored(bool, "selectNodeUponCreation", True)
    noneDisplay = stored(str, "noneDisplay", "None", _updateExtraItems)
    sizeAdjustPolicy = stored(int, "sizeAdjustPolicy", 1)


class qMRMLCheckableNodeComboBox(qMRMLNodeComboBox):
    """A choice of several nodes, by check marks."""

    checkedNodesChanged = QtCore.Signal()

    def _makeComboBox(self) -> QtWidgets.QComboBox:
        box = _CheckableBox()
        box.checkedIndexesChanged.connect(self.checkedNodesChanged)
        return box

    def _nodes(self, state: Any) -> tuple:
        box = self._comboBox
        rows = [row for row in self._nodeRows() if box.checkState(box.model().index(row, 0)) == state]
        return tuple(self._nodeAt(row) for row in rows)

    def checkedNodes(self) -> tuple:
        return self._nodes(Qt.Checked)

    def uncheckedNodes(self) -> tuple:
        return self._nodes(Qt.Unchecked)

    def allChecked(self) -> bool:
        return not self.uncheckedNodes()

    def noneChecked(self) -> bool:
        return not self.checkedNodes()

    def _index(self, node: Any) -> QtCore.QModelIndex:
        return self._comboBox.model().index(self._comboBox.findData(node.GetID(), _ID), 0)

    def checkState(self, node: Any) -> Any:
        return self._comboBox.checkState(self._index(node))

    def setCheckState(self, node: Any, state: Any) -> None:
        self._comboBox.setCheckState(self._index(node), state)

    def check(self, node: Any) -> None:
        self.setCheckState(node, Qt.Checked)

    def uncheck(self, node: Any) -> None:
        self.setCheckState(node, Qt.Unchecked)


class _CheckableBox(ctkCheckableComboBox):
    defaultText = stored(str, "defaultText", "")


class qMRMLSegmentSelectorWidget(qMRMLWidget):
    """A choice of a segmentation, and of one segment or more of it."""

    currentNodeChanged = QtCore.Signal((object,), (bool,))
    currentSegmentChanged = QtCore.Signal(str)
    segmentSelectionChanged = QtCore.Signal("QStringList")
    nodeAboutToBeEdited = QtCore.Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._nodeBox = qMRMLNodeComboBox()
        self._nodeBox.nodeTypes = ["vtkMRMLSegmentationNode"]
        self._nodeBox.addEnabled = self._nodeBox.removeEnabled = False
        self._segmentBox = QtWidgets.QComboBox()
        self._checkBox = ctkCheckableComboBox()
        self._label = QtWidgets.QLabel("Segment: ")  # of its own
        layout.addWidget(self._nodeBox)
        row = QtWidgets.QHBoxLayout()
        row.addWidget(self._label)
        row.addWidget(self._segmentBox, 1)
        row.addWidget(self._checkBox, 1)
        layout.addLayout(row)
        self._node: Any = None
        self._observer = Observer(self)
        self._current = ""
        self.setFocusProxy(self._nodeBox)
        self._nodeBox.currentNodeChanged.connect(self._onNode)
        self._segmentBox.currentIndexChanged.connect(self._onSegment)
        self._checkBox.checkedIndexesChanged.connect(self._onSelection)
        self._populate()

    def setMRMLScene(self, scene: Any) -> None:
        super().setMRMLScene(scene)
        self._nodeBox.setMRMLScene(scene)

    def _onNode(self, node: Any) -> None:
        self._node = node
        self._observer.clear()
        for event in SEGMENT_EVENTS if node else ():
            self._observer.watch(node, getattr(slicer.vtkSegmentation, event), lambda *_: self._populate())
        self._populate()
        self.currentNodeChanged.emit(node)
        self.currentNodeChanged[bool].emit(node is not None)

    def _populate(self) -> None:
        selected = self.selectedSegmentIDs() if self.multiSelection else ()
        for box in (self._segmentBox, self._checkBox):
            box.blockSignals(True)
            box.clear()
        self._segmentBox.setVisible(not self.multiSelection)
        self._checkBox.setVisible(self.multiSelection)
        box = self._checkBox if self.multiSelection else self._segmentBox
        if self.noneEnabled and not self.multiSelection:
            box.addItem("None", "")
        for identifier in self.segmentIDs():
            box.addItem(self._node.GetSegmentation().GetSegment(identifier).GetName(), identifier)
        self._segmentBox.setCurrentIndex(self._segmentBox.findData(self._current))
        for box in (self._segmentBox, self._checkBox):
            box.blockSignals(False)
        self.setSelectedSegmentIDs(selected)
        if self._segmentBox.currentIndex < 0 and self._segmentBox.count:
            self._segmentBox.setCurrentIndex(int(self.noneEnabled and self._segmentBox.count > 1))

    def _onSegment(self, index: int) -> None:
        self._current = self._segmentBox.itemData(index) or ""
        self.currentSegmentChanged.emit(self._current)

    def _onSelection(self) -> None:
        self.segmentSelectionChanged.emit(list(self.selectedSegmentIDs()))

    def currentNode(self) -> Any:
        return self._node

    def currentNodeID(self) -> str:
        return self._node.GetID() if self._node else ""

    def setCurrentNode(self, node: Any) -> None:
        self._nodeBox.setCurrentNode(node)

    def setCurrentNodeID(self, identifier: str) -> None:
        self._nodeBox.setCurrentNodeID(identifier)

    def currentSegmentID(self) -> str:
        return self._current

    def setCurrentSegmentID(self, identifier: str) -> None:
        self._segmentBox.setCurrentIndex(self._segmentBox.findData(identifier))

    def segmentIDs(self) -> tuple:
        return tuple(self._node.GetSegmentation().GetSegmentIDs()) if self._node else ()

    def selectedSegmentIDs(self) -> tuple:
        return tuple(index.data(Qt.UserRole) for index in self._checkBox.checkedIndexes())

    def setSelectedSegmentIDs(self, identifiers: Any) -> None:
        box = self._checkBox
        for row in range(box.count):
            state = Qt.Checked if box.itemData(row) in identifiers else Qt.Unchecked
            box.setCheckState(box.model().index(row, 0), state)

    noneEnabled = stored(bool, "noneEnabled", False, _populate)
    editEnabled = stored(bool, "editEnabled", False)
    multiSelection = stored(bool, "multiSelection", False, _populate)
    horizontalLayout = stored(bool, "horizontalLayout", False)
    selectNodeUponCreation = forwarded(bool, "_nodeBox", "selectNodeUponCreation")
    segmentationNodeSelectorVisible = QtCore.Property(
        bool, lambda self: not self._nodeBox.isHidden(), lambda self, shown: self._nodeBox.setVisible(shown)
    )


class qMRMLSliderWidget(ctkSliderWidget):
    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        self._scene: Any = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene

    quantity = stored(str, "quantity", "")


WIDGETS = [
    qMRMLWidget,
    qMRMLNodeComboBox,
    qMRMLCheckableNodeComboBox,
    qMRMLSegmentSelectorWidget,
    qMRMLSliderWidget,
]
