"""Slicer's Segment Editor inside the panel, to correct segments without leaving the module."""

from __future__ import annotations

from typing import Any, Protocol

import qt
import slicer

from ..scene.display import Spotlight, showVolume
from ..strokes.registration import NAME

_TAG = "LLMBoostSegment"  # of an editor node of our own: the Segment Editor module keeps its settings
_UNDO_STATES = 10


class Widgets(Protocol):
    """``editorFrame`` has a layout, which gets the editor."""

    mainFrame: qt.QWidget
    editorFrame: qt.QWidget


class EditorView:
    """The panel's page with the editor, in place of everything else; the widget is made when it is opened first.

    Args:
        spotlight: shows the segments that are corrected alone.
    """

    def __init__(self, ui: Widgets, spotlight: Spotlight) -> None:
        self._ui, self._spotlight = ui, spotlight
        self._editor: Any = None
        self.nodes: tuple[Any, Any] | None = None  # segmentation and volume, while the page is open
        self._showPage(editing=False)

    def open(self, segmentationNode: Any, volumeNode: Any) -> None:
        """Edit these segments over this image."""
        if self._editor is None:
            self._editor = slicer.qMRMLSegmentEditorWidget()
            self._editor.maximumNumberOfUndoStates = _UNDO_STATES
            # what is edited is settled
            self._editor.segmentationNodeSelectorVisible = self._editor.sourceVolumeNodeSelectorVisible = False
            self._ui.editorFrame.layout().addWidget(self._editor)
        showVolume(volumeNode)
        self._editor.setMRMLSegmentEditorNode(self._node())  # before the scene, which would choose nodes by itself
        self._editor.setMRMLScene(slicer.mrmlScene)
        self._editor.setSegmentationNode(segmentationNode)
        self._editor.setSourceVolumeNode(volumeNode)
        self.nodes = segmentationNode, volumeNode
        self.enter()
        self._showPage(editing=True)

    def exit(self) -> None:
        """Give the mouse and the keyboard back to the views, as when the module is left, and show what was shown."""
        self._spotlight.off()
        if self._editor:
            self._editor.setActiveEffect(None)
            self._editor.uninstallKeyboardShortcuts()
            self._editor.removeViewObservations()

    def enter(self) -> None:
        """Go on with what was opened, if anything was."""
        if self.nodes:
            self._editor.setupViewObservations()
            self._editor.installKeyboardShortcuts()
            self._spotlight.on(self.nodes[0])

    def close(self) -> None:
        """End editing; the editor holds no node any more."""
        self.exit()
        self.nodes = None
        if self._editor:
            if strokes := self._editor.effectByName(NAME):
                strokes.self().leave()
            self._editor.setSegmentationNode(None)
            self._editor.setSourceVolumeNode(None)
            self._editor.setMRMLSegmentEditorNode(None)
        self._showPage(editing=False)

    def _showPage(self, editing: bool) -> None:
        self._ui.editorFrame.visible = editing
        self._ui.mainFrame.visible = not editing

    @staticmethod
    def _node() -> Any:
        node = slicer.mrmlScene.GetSingletonNode(_TAG, "vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
            node.UnRegister(None)  # the scene's factory counts one reference too many
            node.SetSingletonTag(_TAG)
            node = slicer.mrmlScene.AddNode(node)
        return node
