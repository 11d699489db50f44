"""Tables of results: the sizes of segments, and how any table is filled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from llmboost.messages.images import DrawnLabel

from .nodes import derivedNode
from .volumes import worldFromNode

SEGMENT, VOLUME, VOXELS = "Segment", "Volume (mL)", "Voxels"
DECIMALS = 3  # of mL: the views show all that a cell holds
_ARRAYS = {str: vtk.vtkStringArray, float: vtk.vtkDoubleArray, int: vtk.vtkIdTypeArray}
_LABELMAP = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()


def writeTable(
    labelmap: np.ndarray, labels: Sequence[DrawnLabel], volumesMl: Mapping[str, float], segmentationNode: Any
) -> Any:
    """The table node of a segmentation, a row a label: its name, mL and voxels. An earlier one is updated."""
    rows = [(label.name, volumesMl[label.name], int(np.count_nonzero(labelmap == label.value))) for label in labels]
    node, _isNew = derivedNode("vtkMRMLTableNode", segmentationNode, "volumes", f"{segmentationNode.GetName()} volumes")
    _fillSizes(node, rows)
    return node


def measureTable(tableNode: Any, segmentationNode: Any) -> None:
    """Measure the segments of a table made by :func:`writeTable` again, for they may have been edited."""
    segmentation = segmentationNode.GetSegmentation()
    names = [tableNode.GetCellText(row, 0) for row in range(tableNode.GetNumberOfRows())]
    scale = abs(np.linalg.det(worldFromNode(segmentationNode)[:3, :3]))
    rows = []
    for name in names:
        segment = segmentation.GetSegment(segmentation.GetSegmentIdBySegmentName(name))
        layer = segment.GetRepresentation(_LABELMAP) if segment else None
        scalars = layer.GetPointData().GetScalars() if layer else None
        voxels = int(np.count_nonzero(vtk_to_numpy(scalars) == segment.GetLabelValue())) if scalars else 0
        size = float(np.prod(layer.GetSpacing())) if layer else 0.0
        rows.append((name, voxels * scale * size / 1000, voxels))
    _fillSizes(tableNode, rows)


def fillTable(node: Any, columns: Mapping[str, Sequence[str] | Sequence[int] | Sequence[float]]) -> None:
    """Replace what a table node holds; each column's values are of one kind."""
    wasModifying = node.StartModify()
    node.SetUseColumnTitleAsColumnHeader(True)
    node.RemoveAllColumns()
    for title, values in columns.items():
        column = _ARRAYS[type(values[0]) if values else str]()
        column.SetName(title)
        for value in values:
            column.InsertNextValue(value)
        node.AddColumn(column)
    node.EndModify(wasModifying)


def _fillSizes(node: Any, rows: Sequence[tuple[str, float, int]]) -> None:
    fillTable(
        node,
        {
            SEGMENT: [name for name, _ml, _voxels in rows],
            VOLUME: [round(float(milliliters), DECIMALS) for _name, milliliters, _voxels in rows],
            VOXELS: [int(voxels) for _name, _ml, voxels in rows],
        },
    )
