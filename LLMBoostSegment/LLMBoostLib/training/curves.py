"""The curves of a training: tables, series and a chart in the scene."""

from __future__ import annotations

import time
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from llmboost.messages.worker import StepEvent, TrainingEvent, ValidationEvent

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

    def hear(self, event: TrainingEvent | None) -> None:
        """Take a training's event; others than steps and validations are passed by."""
        if isinstance(event, StepEvent) and (loss := finite(event.loss)) is not None:
            self._smooth = loss if self._smooth is None else SMOOTHING * self._smooth + (1 - SMOOTHING) * loss
            self.points["loss"].append((event.step, self._smooth))
        elif isinstance(event, ValidationEvent) and event.measure == "dice" and finite(event.value) is not None:
            self.points["dice"].append((event.step, event.value))
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
