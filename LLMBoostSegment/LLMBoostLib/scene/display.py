"""What the views show: the image that is worked on, and for a closer look its own segments alone."""

from __future__ import annotations

from typing import Any

import slicer


def showVolume(volumeNode: Any) -> None:
    """Make an image all that the slice views show, unless one of them shows it already.

    Otherwise a result would lie over another image, and be corrected there.
    """
    if volumeNode is not None and not isShown(volumeNode):
        slicer.util.setSliceViewerLayers(background=volumeNode, foreground=None, fit=True)


def isShown(volumeNode: Any) -> bool:
    """Whether a slice view of the layout shows an image, alone or with another one."""
    for sliceNode in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        view = slicer.vtkMRMLSliceLogic.GetSliceCompositeNode(sliceNode)
        if view is not None and sliceNode.IsMappedInLayout() and volumeNode.GetID() in _visible(view):
            return True
    return False


def _visible(view: Any) -> list[str]:
    """The IDs of the volumes that can be seen in a view."""
    background, foreground = view.GetBackgroundVolumeID(), view.GetForegroundVolumeID()
    opacity = view.GetForegroundOpacity() if foreground else 0.0
    return [id for id, seen in ((background, opacity < 1), (foreground, opacity > 0)) if id and seen]


class Spotlight:
    """Shows some segmentations and hides all others, until :meth:`off` brings back what the user had chosen."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, bool]] = []  # display nodes that were changed, and whether they were visible

    def on(self, *segmentationNodes: Any) -> None:
        """Show these alone, whatever was shown alone before."""
        self.off()
        for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
            wanted = any(node is each for each in segmentationNodes)
            for n in range(node.GetNumberOfDisplayNodes()):
                display = node.GetNthDisplayNode(n)
                if display is not None and bool(display.GetVisibility()) != wanted:
                    self._before.append((display, not wanted))
                    display.SetVisibility(wanted)

    def off(self) -> None:
        """Undo it, but for what was removed from the scene, or shown and hidden by somebody else meanwhile."""
        for display, visible in self._before:
            if slicer.mrmlScene.IsNodePresent(display) and bool(display.GetVisibility()) != visible:
                display.SetVisibility(visible)
        self._before.clear()
