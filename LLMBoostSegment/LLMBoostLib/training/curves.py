"""The curves of a training: tables, series and a chart in the scene, and a plot widget in the panel."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from .figures import finite

STEP = "Step"
SECONDS = 0.5  # between two changes of a table, each of which draws the chart anew
SMOOTHING = 0.9  # of the loss, whose single steps say little
_COLORS = {"loss": (0.0, 0.45, 0.7), "dice": (0.9, 0.62, 0.0)}
LINE = 2  # points, at least: VTK complains of a line with fewer


class Curves:
    """Collects a training's events, and shows them as nodes; in a scene that was closed, it makes them anew."""

    def __init__(self) -> None:
        self.clear()
        self.chartNode: Any = None
        self._series: dict[str, Any] = {}

    def clear(self) -> None:
        """A new training."""
        self.points: dict[str, list[tuple[float, float]]] = {"loss": [], "dice": []}
        self._smooth: float | None = None
        self._shown = 0.0

    def hear(self, event: Mapping[str, Any] | None) -> None:
        """Take an event of the engine's trainer; others than steps and validations are passed by."""
        if not event:
            return
        kind, step = event.get("event"), float(event.get("step") or 0)
        if kind == "step" and (loss := finite(event.get("loss"))) is not None:
            self._smooth = loss if self._smooth is None else SMOOTHING * self._smooth + (1 - SMOOTHING) * loss
            self.points["loss"].append((step, self._smooth))
        elif kind == "validation" and (dice := finite(event.get("dice"))) is not None:
            self.points["dice"].append((step, dice))
            self._shown = 0.0
        else:
            return
        if time.monotonic() - self._shown >= SECONDS:
            self.show()

    def show(self) -> Any:
        """Bring the nodes up to date; the chart node."""
        self._shown = time.monotonic()
        if not self._series or not all(map(slicer.mrmlScene.IsNodePresent, (self.chartNode, *self._series.values()))):
            self._makeNodes()
        for name, series in self._series.items():
            points, isDrawn = self.points[name], self.chartNode.HasPlotSeriesNodeID(series.GetID())
            drawable = len(points) >= LINE
            if isDrawn and not drawable:  # before its points go
                self.chartNode.RemovePlotSeriesNodeID(series.GetID())
            _fill(series.GetTableNode(), name, points)
            if drawable and not isDrawn:
                self.chartNode.AddAndObservePlotSeriesNodeID(series.GetID())
        return self.chartNode

    def _makeNodes(self) -> None:
        scene = slicer.mrmlScene
        self.chartNode = chart = scene.AddNewNodeByClass(
            "vtkMRMLPlotChartNode", scene.GenerateUniqueName(_("Training"))
        )
        chart.SetTitle("")
        chart.SetTitleVisibility(False)
        chart.SetXAxisTitle(_("Step"))
        chart.SetYAxisTitle(_("Loss, Dice"))
        chart.SetLegendVisibility(True)
        for name, title in (("loss", _("Loss")), ("dice", _("Dice of the checked cases"))):
            table = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(f"{chart.GetName()} {name}"))
            series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", title)
            series.SetPlotType(series.PlotTypeScatter)
            series.SetMarkerStyle(series.MarkerStyleCircle if name == "dice" else series.MarkerStyleNone)
            series.SetLineStyle(series.LineStyleSolid)
            series.SetColor(*_COLORS[name])
            _fill(table, name, [])
            series.SetAndObserveTableNodeID(table.GetID())
            series.SetXColumnName(STEP)
            series.SetYColumnName(name)
            self._series[name] = series


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
            self._plot.setMinimumHeight(HEIGHT)
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


HEIGHT = 190  # pixels, at least
_TAG = "LLMBoostTrain"
_OWNER = "LLMBoostTrain"  # the module's parameter node


def _fill(tableNode: Any, name: str, points: list[tuple[float, float]]) -> None:
    columns = []
    for title, values in ((STEP, [x for x, _y in points]), (name, [y for _x, y in points])):
        column = vtk.vtkDoubleArray()
        column.SetName(title)
        for value in values:
            column.InsertNextValue(value)
        columns.append(column)
    wasModifying = tableNode.StartModify()
    tableNode.RemoveAllColumns()
    for column in columns:
        tableNode.AddColumn(column)
    tableNode.EndModify(wasModifying)
