"""The plot widget in the panel, which shows the curves of a training."""

from __future__ import annotations

from typing import Any

import qt
import slicer

HEIGHT = 240  # pixels
_TAG = "LLMBoostTrain"
_OWNER = "LLMBoostTrain"  # the module's parameter node


class CurvesView:
    """The plot widget; made when it is needed first, in a frame with a layout.

    Args:
        frame: the QWidget that gets it.
    """

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self._plot: Any = None

    def show(self, chartNode: Any) -> None:
        """Show a chart here, and in no other view of the user's."""
        if self._plot is None:
            self._plot = slicer.qMRMLPlotWidget()
            self._plot.setFixedHeight(HEIGHT)
            self._plot.setSizePolicy(qt.QSizePolicy.Expanding, qt.QSizePolicy.Fixed)  # else what is around it grows
            self._frame.layout().addWidget(self._plot)
        self._plot.setMRMLScene(slicer.mrmlScene)
        viewNode = self._viewNode()
        if self._plot.mrmlPlotViewNode() is not viewNode:
            self._plot.setMRMLPlotViewNode(viewNode)
            controller = self._plot.plotController()
            controller.visible = False
        viewNode.SetPlotChartNodeID(chartNode.GetID())

    def close(self) -> None:
        """Hold no node any more."""
        if self._plot:
            self._plot.setMRMLPlotViewNode(None)

    @staticmethod
    def _viewNode() -> Any:
        """A view node that no layout takes: its owner is a node of ours."""
        node = slicer.mrmlScene.GetSingletonNode(_TAG, "vtkMRMLPlotViewNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLPlotViewNode")
            node.UnRegister(None)  # the scene's factory counts one reference too many
            node.SetSingletonTag(_TAG)
            node.SetName(_TAG)
            node.SetLayoutName(_TAG)
            node.SetHideFromEditors(True)
            node.SetSaveWithScene(False)
            owner = slicer.mrmlScene.GetSingletonNode(_OWNER, "vtkMRMLScriptedModuleNode")
            if owner is not None:
                node.SetAndObserveParentLayoutNodeID(owner.GetID())
            node = slicer.mrmlScene.AddNode(node)
        return node
