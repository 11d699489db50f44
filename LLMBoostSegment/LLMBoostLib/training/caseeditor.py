"""The page where a case's segments are corrected, in place of everything else."""

from __future__ import annotations

from typing import Any, Protocol

import qt
from slicer.i18n import tr as _

from ..panels.editorview import EditorView
from ..scene.display import Spotlight, showVolume


class Widgets(Protocol):
    mainFrame: qt.QWidget
    editorFrame: qt.QWidget
    editorLabel: qt.QLabel


class CaseEditor:
    """Slicer's Segment Editor on a case's nodes.

    Args:
        spotlight: shows the segments that are corrected alone.
    """

    def __init__(self, ui: Widgets, spotlight: Spotlight) -> None:
        self._ui, self._spotlight = ui, spotlight
        self._view = EditorView(ui.editorFrame)
        self.nodes: tuple[Any, Any] | None = None  # volume and segmentation, while the page is open
        self._showPage(False)

    def open(self, title: str, volumeNode: Any, segmentationNode: Any) -> None:
        """Edit these segments over this image."""
        showVolume(volumeNode)
        self.nodes = volumeNode, segmentationNode
        self._ui.editorLabel.text = _("Case {name}").format(name=title)
        self._showPage(True)
        self._view.open(segmentationNode, volumeNode)
        self._spotlight.on(segmentationNode)

    def close(self) -> None:
        """Back to the panel."""
        self._view.close()
        self._spotlight.off()
        self.nodes = None
        self._showPage(False)

    def enter(self) -> None:
        """The module is entered again."""
        if self.nodes:
            self._view.resume()
            self._spotlight.on(self.nodes[1])

    def exit(self) -> None:
        """The module is left: the mouse is the views' again."""
        self._view.pause()
        self._spotlight.off()

    def _showPage(self, editing: bool) -> None:
        self._ui.editorFrame.visible = editing
        self._ui.mainFrame.visible = not editing
