"""Strokes of the mouse in slice views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from .pythonqt import Qt


def showSlice(name: str, volumeNode: Any, ras: Sequence[float]) -> Any:
    """The slice view of that name, with the volume in it, through a point."""
    view = slicer.app.layoutManager().sliceWidget(name)
    slicer.util.setSliceViewerLayers(background=volumeNode, fit=True)
    view.mrmlSliceNode().JumpSliceByOffsetting(*ras)
    return view


def stroke(view: Any, points: Sequence[Sequence[float]]) -> None:
    """Press the left button over the first of these points (RAS), move over the others, and release it."""
    matrix = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(view.mrmlSliceNode().GetXYToRAS(), matrix)
    toXY = slicer.util.arrayFromVTKMatrix(matrix)
    places = []
    for point in points:
        x, y = np.rint((toXY @ [*point, 1])[:2]).tolist()
        places.append(QtCore.QPointF(x, view.height - 1 - y))
    _send(view, QtCore.QEvent.MouseButtonPress, places[0])
    for place in places[1:]:
        _send(view, QtCore.QEvent.MouseMove, place)
    _send(view, QtCore.QEvent.MouseButtonRelease, places[-1])


def _send(view: Any, kind: Any, place: QtCore.QPointF) -> None:
    """To a view that need not be on the screen."""
    button = Qt.NoButton if kind == QtCore.QEvent.MouseMove else Qt.LeftButton
    held = Qt.NoButton if kind == QtCore.QEvent.MouseButtonRelease else Qt.LeftButton
    event = QtGui.QMouseEvent(kind, place, place, button, held, Qt.NoModifier)
    QtWidgets.QApplication.sendEvent(view, event)
    slicer.app.processEvents()
