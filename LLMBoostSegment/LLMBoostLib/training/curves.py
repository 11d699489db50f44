"""The curves of a training: tables, series and a chart in the scene."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from llmboost.card import PALETTE
from llmboost.card.figures import drawn
from llmboost.messages.worker import StepEvent, TrainingEvent, ValidationEvent

from .figures import finite

STEP, DICE = "Step", "dice"
SECONDS = 0.5  # between two changes of a table, each of which draws the chart anew
SMOOTHING = 0.9  # of the loss, whose single steps say little
LEGEND = 10  # pixels a letter, for up to ten lines
ROW, MOST = 0.09, 0.5  # of the chart's height: what a line of the legend takes, and all of them may
LINE = 2  # points, at least: VTK complains of a line with fewer
_LOSS, _MEAN = (0.6, 0.6, 0.6), (0.1, 0.1, 0.1)
_LABEL = "label "
Points = list[tuple[float, float]]


class Curves:
    """Collects a training's events, and shows them as nodes; in a scene that was closed, it makes them anew.

    Attributes:
        points: of the loss and of the mean Dice.
        labels: Dice of each label, by its name, where there are several.
    """

    def __init__(self) -> None:
        self.clear()
        self.chartNode: Any = None
        self._series: dict[str, Any] = {}  # by "loss", "dice", and of a label "label" with its name

    def clear(self) -> None:
        """A new training."""
        self.points: dict[str, Points] = {"loss": [], DICE: []}
        self.labels: dict[str, Points] = {}
        self._smooth: float | None = None
        self._shown = 0.0

    def hear(self, event: TrainingEvent | None) -> None:
        """Take a training's event; others than steps and validations are passed by."""
        if isinstance(event, StepEvent) and (loss := finite(event.loss)) is not None:
            self._smooth = loss if self._smooth is None else SMOOTHING * self._smooth + (1 - SMOOTHING) * loss
            self.points["loss"].append((event.step, self._smooth))
        elif isinstance(event, ValidationEvent) and event.measure == "dice" and finite(event.value) is not None:
            self.points[DICE].append((event.step, event.value))
            for name, value in event.labels.items() if len(event.labels) > 1 else ():
                points = self.labels.setdefault(name, [])
                if (dice := finite(value)) is not None:
                    points.append((event.step, dice))
            self._shown = 0.0
        else:
            return
        if time.monotonic() - self._shown >= SECONDS:
            self.show()

    def show(self) -> Any:
        """Bring the nodes up to date; the chart node."""
        self._shown = time.monotonic()
        nodes = (self.chartNode, *self._series.values())
        if self.chartNode is None or not all(map(slicer.mrmlScene.IsNodePresent, nodes)):
            self._makeChart()
        shown = drawn({name: points[-1][1] if points else None for name, points in self.labels.items()})
        for number, name in enumerate(self.labels):
            if name in shown and _LABEL + name not in self._series:
                color = PALETTE[number % len(PALETTE)]
                self._makeSeries(_LABEL + name, name, [channel / 255 for channel in color])
        curves = {**self.points, **{_LABEL + name: self.labels[name] for name in shown}}
        for key, series in self._series.items():
            points = curves.get(key, [])
            isDrawn = self.chartNode.HasPlotSeriesNodeID(series.GetID())
            drawable = len(points) >= LINE
            if isDrawn and not drawable:  # before its points go
                self.chartNode.RemovePlotSeriesNodeID(series.GetID())
            _fill(series.GetTableNode(), series.GetYColumnName(), points)
            if drawable and not isDrawn:
                self.chartNode.AddAndObservePlotSeriesNodeID(series.GetID())
        self._makeRoom([y for points in curves.values() for _x, y in points])
        return self.chartNode

    def _makeRoom(self, values: Sequence[float]) -> None:
        """Let the legend, in the upper right corner, hide no curve."""
        share = min(self.chartNode.GetNumberOfPlotSeriesNodes() * ROW, MOST)
        self.chartNode.SetYAxisRange(0.0, max(values, default=1.0) / (1 - share))

    def _makeChart(self) -> None:
        scene = slicer.mrmlScene
        self.chartNode = chart = scene.AddNewNodeByClass(
            "vtkMRMLPlotChartNode", scene.GenerateUniqueName(_("Training"))
        )
        chart.SetTitle("")
        chart.SetTitleVisibility(False)
        chart.SetXAxisTitle(_("Step"))
        chart.SetYAxisTitle(_("Loss, Dice"))
        chart.SetLegendVisibility(True)
        chart.SetLegendFontSize(LEGEND)
        chart.SetYAxisRangeAuto(False)
        self._series = {}
        self._makeSeries("loss", _("Loss"), _LOSS)
        self._makeSeries(DICE, _("Dice, mean"), _MEAN)

    def _makeSeries(self, key: str, title: str, color: Sequence[float]) -> None:
        """A line of the chart, with a table of its own."""
        scene = slicer.mrmlScene
        isLoss = key == "loss"
        column = "loss" if isLoss else DICE
        name = column if key in self.points else title
        table = scene.AddNewNodeByClass(
            "vtkMRMLTableNode", scene.GenerateUniqueName(f"{self.chartNode.GetName()} {name}")
        )
        series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", title)
        series.SetPlotType(series.PlotTypeScatter)
        series.SetMarkerStyle(series.MarkerStyleNone if isLoss else series.MarkerStyleCircle)
        series.SetLineStyle(series.LineStyleSolid)
        series.SetColor(*color)
        _fill(table, column, [])
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetXColumnName(STEP)
        series.SetYColumnName(column)
        self._series[key] = series


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
