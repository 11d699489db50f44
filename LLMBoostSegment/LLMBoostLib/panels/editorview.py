"""Slicer's Segment Editor inside the panel, to correct a result without leaving the module."""

from __future__ import annotations

from typing import Any

import slicer

_TAG = "LLMBoostSegment"  # of an editor node of our own: the Segment Editor module keeps its settings
_UNDO_STATES = 10


class EditorView:
    """The editor's page of the panel; the widget is made when it is opened first.

    Args:
        frame: the QWidget, with a layout, that gets the editor.
    """

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self._editor: Any = None

    def open(self, segmentationNode: Any, volumeNode: Any) -> None:
        """Edit these segments over this image."""
        if self._editor is None:
            self._editor = slicer.qMRMLSegmentEditorWidget()
            self._editor.maximumNumberOfUndoStates = _UNDO_STATES
            # what is edited is settled
            self._editor.segmentationNodeSelectorVisible = self._editor.sourceVolumeNodeSelectorVisible = False
            self._frame.layout().addWidget(self._editor)
        self._editor.setMRMLSegmentEditorNode(self._node())  # before the scene, which would choose nodes by itself
        self._editor.setMRMLScene(slicer.mrmlScene)
        self._editor.setSegmentationNode(segmentationNode)
        self._editor.setSourceVolumeNode(volumeNode)
        self.resume()

    def pause(self) -> None:
        """Give the mouse and the keyboard back to the views, as when the module is left."""
        if self._editor:
            self._editor.setActiveEffect(None)
            self._editor.uninstallKeyboardShortcuts()
            self._editor.removeViewObservations()

    def resume(self) -> None:
        if self._editor:
            self._editor.setupViewObservations()
            self._editor.installKeyboardShortcuts()

    def close(self) -> None:
        """End editing; the editor holds no node any more."""
        if self._editor:
            self.pause()
            self._editor.setSegmentationNode(None)
            self._editor.setSourceVolumeNode(None)
            self._editor.setMRMLSegmentEditorNode(None)

    @staticmethod
    def _node() -> Any:
        node = slicer.mrmlScene.GetSingletonNode(_TAG, "vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
            node.UnRegister(None)  # the scene's factory counts one reference too many
            node.SetSingletonTag(_TAG)
            node = slicer.mrmlScene.AddNode(node)
        return node
