"""The colors of what the views show, as icons beside its names: of a segment, and of a map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt
import slicer

SIDE, STRIP = 14, 42  # pixels: the side of a segment's icon, which is the height of a map's, and the width of a map's


def ofSegment(color: Sequence[float]) -> Any:
    """A QIcon of one color, red, green and blue from 0 to 1."""
    return _icon([color] * SIDE)


def ofMap(colorNodeID: str) -> Any:
    """A QIcon of a color table from its lowest color to its highest; an empty one where the scene has no such table."""
    node = slicer.mrmlScene.GetNodeByID(colorNodeID)
    if node is None:
        return qt.QIcon()
    colors = []
    for n in range(STRIP):
        color = [0.0] * 4
        node.GetColor(round(n * (node.GetNumberOfColors() - 1) / (STRIP - 1)), color)
        colors.append(color)
    return _icon(colors)


def _icon(columns: Sequence[Sequence[float]]) -> Any:
    image = qt.QImage(len(columns), SIDE, qt.QImage.Format_RGB32)
    for x, (red, green, blue, *_) in enumerate(columns):
        color = qt.QColor(*(round(255 * part) for part in (red, green, blue)))
        for y in range(SIDE):
            image.setPixelColor(x, y, color)
    return qt.QIcon(qt.QPixmap.fromImage(image))
