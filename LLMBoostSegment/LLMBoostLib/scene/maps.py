"""Maps of probability, entropy or Grad-CAM as volumes of 0 to 1, and as the foreground of the slice views."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from llmboost.errors import LLMBoostError

from .display import isShown
from .nodes import derivedNode, removeNode

UNCERTAINTY_COLORS = "vtkMRMLColorTableNodeIron"  # warm: look here
EXPLANATION_COLORS = "vtkMRMLColorTableNodeOcean"  # cold: the model looked here
THRESHOLD = 0.1  # what is lower stays transparent
OPACITY = 0.5


def writeMap(
    values: np.ndarray,
    volumeNode: Any,
    kind: str,
    title: str,
    subject: str = "",
    provenance: Mapping[str, str] | None = None,
    colors: str = UNCERTAINTY_COLORS,
) -> Any:
    """A map as a volume node over ``volumeNode``; that of the same kind and subject is updated, and keeps its looks.

    The voxels are float32 from 0 to 1, as in the files that the command line writes, so that what the Data Probe shows
    and what scripts read needs no factor.

    Args:
        values: uint8 [k, j, i] on the grid of the volume; 255 stands for 1.
        kind: tells maps of one volume apart, such as "entropy" or "probability_1".
        title: what the color legend says: short, for it is not wrapped.
        subject: what the map is about; the node is named after the volume, this and the title.
        colors: the ID of the color table that a new map is shown in.

    Raises:
        LLMBoostError: the volume is no longer in the scene, or has other sizes now.
    """
    if not slicer.mrmlScene.IsNodePresent(volumeNode):
        raise LLMBoostError(_("the volume was removed from the scene meanwhile: its maps are dropped"))
    if values.shape != tuple(reversed(volumeNode.GetImageData().GetDimensions())):
        raise LLMBoostError(
            _("{name}: was changed meanwhile; compute its maps again").format(name=volumeNode.GetName())
        )
    name = " ".join(filter(None, (volumeNode.GetName(), subject, title.lower())))
    node, isNew = derivedNode("vtkMRMLScalarVolumeNode", volumeNode, f"{kind} {subject}".strip(), name)
    if isNew:
        _dress(node, title, colors)  # before it has voxels, of which the display node would compute a histogram
    try:
        matrix = vtk.vtkMatrix4x4()
        volumeNode.GetIJKToRASMatrix(matrix)
        node.SetIJKToRASMatrix(matrix)
        node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
        array = values.astype(np.float32)
        array /= 255
        slicer.util.updateVolumeFromArray(node, array)
    except BaseException:  # such as too little memory
        if isNew:
            removeNode(node)
        raise
    for key, text in (provenance or {}).items():
        node.SetAttribute(key, text)
    return node


def _dress(node: Any, title: str, colorNodeID: str) -> None:
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(colorNodeID)
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0, 1)
    display.AutoThresholdOff()
    display.SetThreshold(THRESHOLD, 1)
    display.ApplyThresholdOn()
    if (colors := _colors()) is None:
        return
    legend = colors.AddDefaultColorLegendDisplayNode(node)
    legend.SetTitleText(title)
    legend.SetLabelFormat("%.2f")
    legend.SetVisibility(False)  # the overlay shows it together with the map


def _colors() -> Any:
    """The logic of the module Colors, which makes legends; None in an application without it."""
    module = getattr(slicer.modules, "colors", None)
    return module.logic() if module else None


class Overlay:
    """One map at a time as the foreground of all slice views; :meth:`hide` brings back what was there."""

    def __init__(self) -> None:
        self.mapNode: Any = None
        self._before: dict[str, tuple[str | None, str | None, float]] = {}  # by view: background, foreground, opacity

    def show(self, mapNode: Any, volumeNode: Any, opacity: float = OPACITY) -> None:
        """Show a map over its volume, in place of the map shown before."""
        self.hide()
        self.mapNode = mapNode
        for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            self._before[view.GetID()] = (
                view.GetBackgroundVolumeID(),
                view.GetForegroundVolumeID(),
                view.GetForegroundOpacity(),
            )
        isThere = isShown(volumeNode)
        slicer.util.setSliceViewerLayers(
            background=volumeNode, foreground=mapNode, foregroundOpacity=opacity, fit=not isThere
        )
        self._showLegend(True)

    def setOpacity(self, opacity: float) -> None:
        """The map's opacity, 0 to 1, in the views that show it."""
        for view in self._views():
            view.SetForegroundOpacity(opacity)

    def hide(self) -> None:
        """Bring back the volumes of all views, but for views where another foreground was chosen meanwhile."""
        if self.mapNode is None:
            return
        for view in self._views():
            background, foreground, opacity = self._before.get(view.GetID(), (view.GetBackgroundVolumeID(), None, 0.0))
            # a volume that was removed meanwhile has no node
            view.SetBackgroundVolumeID(background if slicer.mrmlScene.GetNodeByID(background or "") else None)
            view.SetForegroundVolumeID(foreground if slicer.mrmlScene.GetNodeByID(foreground or "") else None)
            view.SetForegroundOpacity(opacity)
        self._showLegend(False)
        self.mapNode = None
        self._before.clear()

    def _views(self) -> list[Any]:
        """The views that show the map; those without foreground if the map was removed from the scene."""
        present = self.mapNode is not None and slicer.mrmlScene.IsNodePresent(self.mapNode)
        shown = self.mapNode.GetID() if present else None
        views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        return [view for view in views if view.GetForegroundVolumeID() == shown]

    def _showLegend(self, visible: bool) -> None:
        if slicer.mrmlScene.IsNodePresent(self.mapNode):
            colors = _colors()
            legend = colors.GetColorLegendDisplayNode(self.mapNode) if colors else None
            if legend:
                legend.SetVisibility(visible)
