"""A stand-in for the Segment Editor's widget: Slicer's own logic of the editor, a button an effect, their options."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from .ctkwidgets import stored, withSlots
from .editoreffects import qSlicerSegmentEditorEffectFactory
from .mrmlviews import qMRMLSegmentsTableView
from .mrmlwidgets import Observer, qMRMLNodeComboBox, qMRMLWidget
from .pythonqt import STAND_INS, Qt

STAND_INS.add(__name__)


class qMRMLSegmentEditorWidget(qMRMLWidget):
    """The Segment Editor's frame: which nodes, segment and effect are current, undo, and the mouse in slice views.

    All of that lives in the editor node; without one, nothing can be set, as in Slicer.
    """

    currentSegmentIDChanged = QtCore.Signal(str)
    sourceVolumeNodeChanged = QtCore.Signal(object)
    masterVolumeNodeChanged = QtCore.Signal(object)
    segmentationNodeChanged = QtCore.Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        self._editorNode: Any = None
        self._observer = Observer(self)
        self._shown: tuple = (None, None, "")
        self._order: tuple = ()
        self._effects: list[Any] = []
        self._buttons: dict[str, QtWidgets.QToolButton] = {}
        self._active = self._lastActive = None
        self._shortcuts: list[QtGui.QShortcut] = []
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._makeWidgets()
        self._updateEffectList()
        qSlicerSegmentEditorEffectFactory.instance().effectRegistered.connect(self._updateEffectList)

    def _makeWidgets(self) -> None:
        self._segmentationBox, self._volumeBox = qMRMLNodeComboBox(), qMRMLNodeComboBox()
        self._segmentationBox.nodeTypes = ["vtkMRMLSegmentationNode"]
        self._volumeBox.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        self._volumeBox.addEnabled = False
        self._table = qMRMLSegmentsTableView()
        self._table.setMinimumHeight(90)
        self._form = form = QtWidgets.QFormLayout()
        form.addRow("Segmentation:", self._segmentationBox)
        form.addRow("Source volume:", self._volumeBox)
        self._effectsBox, self._optionsBox = QtWidgets.QGroupBox("Effects"), QtWidgets.QGroupBox()
        self._grid = QtWidgets.QGridLayout(self._effectsBox)
        QtWidgets.QVBoxLayout(self._optionsBox)
        self._optionsBox.visible = False
        self._undoButton, self._redoButton = QtWidgets.QToolButton(), QtWidgets.QToolButton()
        self._undoButton.text, self._redoButton.text = "Undo", "Redo"
        self._undoButton.clicked.connect(self.undo)
        self._redoButton.clicked.connect(self.redo)
        history = QtWidgets.QHBoxLayout()
        history.addWidget(self._undoButton)
        history.addWidget(self._redoButton)
        history.addStretch(1)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        for widget in (self._table, self._effectsBox):
            layout.addWidget(widget)
        layout.addLayout(history)
        layout.addWidget(self._optionsBox)
        self._segmentationBox.currentNodeChanged.connect(self.setSegmentationNode)
        self._volumeBox.currentNodeChanged.connect(self.setSourceVolumeNode)
        self._table.selectionChanged.connect(self._onSelected)

    # -- nodes

    def setMRMLScene(self, scene: Any) -> None:
        blockers = [QtCore.QSignalBlocker(box) for box in (self._segmentationBox, self._volumeBox)]
        super().setMRMLScene(scene)
        self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self._logic.SetMRMLScene(scene)
        self._segmentationBox.setMRMLScene(scene)
        self._volumeBox.setMRMLScene(scene)
        del blockers
        self.updateWidgetFromMRML()

    def mrmlSegmentEditorNode(self) -> Any:
        return self._editorNode

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        self._editorNode = node
        self._logic.SetSegmentEditorNode(node)
        self._observer.clear()
        if node:
            self._observer.watch(node, vtk.vtkCommand.ModifiedEvent, lambda *_: self.updateWidgetFromMRML())
            event = slicer.vtkMRMLSegmentEditorNode.EffectParameterModified
            self._observer.watch(node, event, lambda *_: self._tellEffects())
            for effect in self._effects:
                effect.setParameterSetNode(node)
                effect.setMRMLDefaults()
            self.updateWidgetFromMRML()
        elif self._active:
            self._activate(None)

    def _tellEffects(self) -> None:
        for effect in self._effects:
            effect.updateGUIFromMRML()

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
        self._updateEffects(segmentation, volume)
        signals = (self.segmentationNodeChanged, self.sourceVolumeNodeChanged, self.currentSegmentIDChanged)
        for signal, old, new in zip(signals, before, shown, strict=True):
            if old is not new and old != new:
                signal.emit(new)
        if before[1] is not volume:
            for effect in self._effects:
                effect.sourceVolumeNodeChanged()

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
            self.setActiveEffect(None)
            self._logic.SetSegmentationNode(node)
            if node and node.GetSegmentation().GetNumberOfSegments():
                self.setCurrentSegmentID(node.GetSegmentation().GetNthSegmentID(0))

    def setSegmentationNodeID(self, identifier: str) -> None:
        self.setSegmentationNode(self._scene.GetNodeByID(identifier) if identifier else None)

    def sourceVolumeNode(self) -> Any:
        return self._editorNode.GetSourceVolumeNode() if self._editorNode else None

    def sourceVolumeNodeID(self) -> str:
        return node.GetID() if (node := self.sourceVolumeNode()) else ""

    def setSourceVolumeNode(self, node: Any) -> None:
        if node is not self.sourceVolumeNode() and self._node():
            self._logic.SetSourceVolumeNode(node)

    def setSourceVolumeNodeID(self, identifier: str) -> None:
        self.setSourceVolumeNode(self._scene.GetNodeByID(identifier) if identifier else None)

    def currentSegmentID(self) -> str:
        return (self._editorNode.GetSelectedSegmentID() or "") if self._editorNode else ""

    def setCurrentSegmentID(self, identifier: str) -> None:
        if identifier != self.currentSegmentID() and self._node():
            self._editorNode.SetSelectedSegmentID(identifier)

    # -- effects

    def _updateEffectList(self, *_: Any) -> None:
        """Take copies of the effects that are new, each with its options, and a button for each."""
        for effect in qSlicerSegmentEditorEffectFactory.instance()._copies({each.name for each in self._effects}):
            effect.setParent(self)
            effect._join(self._logic, self.setActiveEffectByName)
            if self._editorNode:
                effect.setParameterSetNode(self._editorNode)
                effect.setMRMLDefaults()
            effect.setupOptionsFrame()
            effect.optionsFrame().visible = False
            self._optionsBox.layout().addWidget(effect.optionsFrame())
            button = QtWidgets.QToolButton()
            button.objectName, button.text, button.toolTip = effect.name, effect.title, effect.title
            button.setIcon(effect.icon())
            button.checkable = True
            button.setToolButtonStyle(Qt.ToolButtonTextBesideIcon)
            button.clicked.connect(lambda _checked, name=effect.name: self.setActiveEffectByName(name))
            self._grid.addWidget(button, len(self._effects) // 3, len(self._effects) % 3)
            self._effects.append(effect)
            self._buttons[effect.name] = button

    def _updateEffects(self, segmentationNode: Any, volumeNode: Any) -> None:
        """Enable what can be used, and activate the effect that the node names."""
        self._effectsBox.enabled = self._optionsBox.enabled = volumeNode is not None
        hasSegments = bool(segmentationNode and segmentationNode.GetSegmentation().GetNumberOfSegments())
        for effect in self._effects:
            selected = bool(self.currentSegmentID()) or not effect.perSegment
            self._buttons[effect.name].enabled = not effect.requireSegments or (hasSegments and selected)
        self._activate(self.effectByName(self._editorNode.GetActiveEffectName() or ""))

    def _activate(self, effect: Any) -> None:
        if effect is self._active:
            return
        if self._active:
            self._active.deactivate()
        if effect:
            self.setupViewObservations()
            effect.activate()
            self._optionsBox.title = effect.title
        else:
            self.removeViewObservations()
        self._optionsBox.visible = effect is not None
        for name, button in self._buttons.items():
            button.checked = effect is not None and name == effect.name
        self._lastActive, self._active = self._active, effect

    def effectByName(self, name: str) -> Any:
        return next((effect for effect in self._effects if effect.name == name), None)

    def effectCount(self) -> int:
        return len(self._effects)

    def effectByIndex(self, index: int) -> Any:
        """From 1: before them all comes "no effect"."""
        return self._effects[index - 1] if 0 < index <= len(self._effects) else None

    def availableEffectNames(self) -> tuple:
        return tuple(effect.name for effect in self._effects)

    def effectNameOrder(self) -> tuple:
        return self._order

    def setEffectNameOrder(self, names: Any) -> None:
        self._order = tuple(names)

    def activeEffect(self) -> Any:
        return self._active

    def setActiveEffectByName(self, name: str) -> None:
        self.setActiveEffect(self.effectByName(name))

    def setActiveEffect(self, effect: Any) -> None:
        if self._editorNode:
            self._editorNode.SetActiveEffectName(effect.name if effect else "")
        elif effect:
            self._node()

    # -- keys and the mouse

    def installKeyboardShortcuts(self, parent: QtWidgets.QWidget | None = None) -> None:
        """Digits select effects, Space goes back to the last one, Escape to none, Z and Y undo and redo, Q and W go
        from segment to segment."""
        self.uninstallKeyboardShortcuts()
        window = parent or slicer.util.mainWindow()
        keys = {str(n % 10): lambda n=n: self._toggle(self.effectByIndex(n)) for n in range(1, 11)}
        keys |= {f"Shift+{n % 10}": lambda n=n: self._toggle(self.effectByIndex(n + 10)) for n in range(1, 11)}
        keys |= {"Esc": lambda: self.setActiveEffect(None), "Space": lambda: self.setActiveEffect(self._lastActive)}
        keys |= {"Z": self.undo, "Y": self.redo}
        keys |= {"Q": lambda: self._logic.SelectPreviousSegment(True), "W": lambda: self._logic.SelectNextSegment(True)}
        for key, action in keys.items():
            shortcut = QtGui.QShortcut(QtGui.QKeySequence(key), window)
            shortcut.activated.connect(action)
            self._shortcuts.append(shortcut)

    def _toggle(self, effect: Any) -> None:
        self.setActiveEffect(None if effect is self._active else effect)

    def uninstallKeyboardShortcuts(self) -> None:
        for shortcut in self._shortcuts:
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._shortcuts.clear()

    def setupViewObservations(self) -> None:
        for view in self._sliceWidgets():
            view._watchers[self] = self._onMouse

    def removeViewObservations(self) -> None:
        for view in self._sliceWidgets():
            view._watchers.pop(self, None)

    def _sliceWidgets(self) -> list[Any]:
        layoutManager = slicer.app.layoutManager()
        names = layoutManager.sliceViewNames() if layoutManager else ()
        return [layoutManager.sliceWidget(name) for name in names]

    def _onMouse(self, kind: str, x: float, y: float, sliceWidget: Any) -> None:
        if self._active:
            self._active._interact(kind, x, y, sliceWidget)

    # -- undo

    def saveStateForUndo(self) -> None:
        self._logic.SaveStateForUndo()

    def undo(self, *_: Any) -> None:
        self._logic.Undo()

    def redo(self, *_: Any) -> None:
        self._logic.Redo()

    def setMaximumNumberOfUndoStates(self, count: int) -> None:
        self._logic.SetMaximumNumberOfUndoStates(count)

    maximumNumberOfUndoStates = QtCore.Property(
        int, lambda self: self._logic.GetMaximumNumberOfUndoStates(), setMaximumNumberOfUndoStates
    )

    # -- looks

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
    readOnly = stored(bool, "readOnly", False)
    effectColumnCount = stored(int, "effectColumnCount", 2)
    unorderedEffectsVisible = stored(bool, "unorderedEffectsVisible", True)
    jumpToSelectedSegmentEnabled = stored(bool, "jumpToSelectedSegmentEnabled", False)


withSlots(
    qMRMLSegmentEditorWidget,
    "autoShowSourceVolumeNode maskingSectionVisible specifyGeometryButtonVisible readOnly show3DButtonVisible"
    " addRemoveSegmentButtonsVisible switchToSegmentationsButtonVisible undoEnabled effectColumnCount"
    " jumpToSelectedSegmentEnabled",
)
WIDGETS = [qMRMLSegmentEditorWidget]
