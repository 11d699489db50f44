"""What a plot view draws: the series of a chart node as lines and dots, with axes and a legend. Numbers alone."""

from __future__ import annotations

from typing import Any

import vtk
from PySide6 import QtCore, QtGui
from vtk.util.numpy_support import vtk_to_numpy

from .pythonqt import Qt

LEFT, TOP, RIGHT, BOTTOM = 44, 22, 10, 34  # margins, pixels
TICKS = 4
Series = tuple[Any, list[tuple[float, float]]]


def nodesOf(chart: Any) -> list[Any]:
    """What a chart depends on: itself, its series and their tables."""
    series = [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]
    tables = [one.GetTableNode() for one in series]
    return [node for node in (chart, *series, *tables) if node is not None]


def seriesOf(chart: Any) -> list[Series]:
    """Each series of the chart with its points."""
    found = []
    for n in range(chart.GetNumberOfPlotSeriesNodes()):
        node = chart.GetNthPlotSeriesNode(n)
        table = node.GetTableNode().GetTable() if node and node.GetTableNode() else None
        columns = (
            [table.GetColumnByName(name) for name in (node.GetXColumnName(), node.GetYColumnName())] if table else []
        )
        if len(columns) == 2 and all(columns):
            found.append((node, list(zip(*(vtk_to_numpy(column).tolist() for column in columns), strict=True))))
    return found


def complain(chart: Any) -> None:
    """Report what VTK does when it draws a line with less than two points."""
    for node, points in seriesOf(chart):
        if len(points) < 2 and node.GetLineStyle() != node.LineStyleNone:
            vtk.vtkOutputWindow.GetInstance().DisplayErrorText("Attempted to paint a line with <2 points.")


def draw(painter: QtGui.QPainter, area: QtCore.QRect, chart: Any) -> None:
    """Draw a chart that has points."""
    series = seriesOf(chart)
    points = [point for _, own in series for point in own]
    xs, ys = ([point[axis] for point in points] for axis in (0, 1))
    low, high = min(0.0, *ys), max(*ys, 1e-9) if len(ys) > 1 else max(ys[0], 1e-9)
    if not chart.GetYAxisRangeAuto():
        low, high = chart.GetYAxisRange()
    first, last = min(xs), max(max(xs), min(xs) + 1e-9)
    inner = area.adjusted(LEFT, TOP, -RIGHT, -BOTTOM)

    def place(x: float, y: float) -> QtCore.QPointF:
        right = inner.left() + (x - first) / (last - first) * inner.width()
        return QtCore.QPointF(right, inner.bottom() - (y - low) / (high - low) * inner.height())

    painter.fillRect(area, QtGui.QColor("white"))
    painter.setRenderHint(QtGui.QPainter.Antialiasing)
    for n in range(TICKS + 1):
        y = low + (high - low) * n / TICKS
        x = first + (last - first) * n / TICKS
        painter.setPen(QtGui.QColor("#dddddd"))
        painter.drawLine(place(first, y), place(last, y))
        painter.setPen(QtGui.QColor("#444444"))
        row = QtCore.QRectF(0, place(first, y).y() - 8, LEFT - 6, 16)
        painter.drawText(row, int(Qt.AlignRight.value | Qt.AlignVCenter.value), f"{y:.2f}")
        column = QtCore.QRectF(place(x, low).x() - 30, inner.bottom() + 2, 60, 16)
        painter.drawText(column, int(Qt.AlignHCenter.value), f"{x:.3g}")
    title = QtCore.QRectF(inner.left(), inner.bottom() + 16, inner.width(), 16)
    painter.drawText(title, int(Qt.AlignHCenter.value), chart.GetXAxisTitle() or "")
    for node, own in series:
        color = QtGui.QColor.fromRgbF(*node.GetColor())
        painter.setPen(QtGui.QPen(color, 2))
        painter.drawPolyline(QtGui.QPolygonF([place(x, y) for x, y in own]))
        if node.GetMarkerStyle() != node.MarkerStyleNone:
            painter.setBrush(color)
            for x, y in own:
                painter.drawEllipse(place(x, y), 3, 3)
    if chart.GetLegendVisibility():
        _drawLegend(painter, inner, chart, [node for node, _ in series])


def _drawLegend(painter: QtGui.QPainter, inner: QtCore.QRect, chart: Any, nodes: list[Any]) -> None:
    """As VTK has it: one below the other, in the upper right corner, over what is drawn there."""
    font = QtGui.QFont(painter.font())
    font.setPixelSize(chart.GetLegendFontSize())
    painter.setFont(font)
    row, metrics = chart.GetLegendFontSize() + 4, painter.fontMetrics()
    width = 30 + max(metrics.horizontalAdvance(node.GetName()) for node in nodes)
    box = QtCore.QRect(inner.right() - width - 4, inner.top() + 4, width, row * len(nodes) + 6)
    painter.setPen(QtGui.QColor("#cccccc"))
    painter.setBrush(QtGui.QColor(255, 255, 255, 210))
    painter.drawRect(box)
    for number, node in enumerate(nodes):
        middle = box.top() + 3 + row * number + row // 2
        painter.setPen(QtGui.QPen(QtGui.QColor.fromRgbF(*node.GetColor()), 2))
        painter.drawLine(box.left() + 4, middle, box.left() + 20, middle)
        painter.setPen(QtGui.QColor("#222222"))
        painter.drawText(box.left() + 24, middle + metrics.ascent() // 2 - 1, node.GetName())
