"""The sizes of the segments as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import vtk

from .scene import derivedNode


def writeTable(
    labelmap: np.ndarray, labels: Sequence[Mapping[str, Any]], volumesMl: Mapping[str, float], segmentationNode: Any
) -> Any:
    """The table node of a segmentation, a row a label: its name, mL and voxels. An earlier one is updated."""
    name = f"{segmentationNode.GetName()} volumes"
    node, _ = derivedNode("vtkMRMLTableNode", segmentationNode, "volumes", name)
    columns = {"Segment": vtk.vtkStringArray(), "Volume (mL)": vtk.vtkDoubleArray(), "Voxels": vtk.vtkIdTypeArray()}
    for label in labels:
        row = label["name"], volumesMl[label["name"]], np.count_nonzero(labelmap == label["value"])
        for column, value in zip(columns.values(), row, strict=True):
            column.InsertNextValue(value)
    wasModifying = node.StartModify()
    node.RemoveAllColumns()
    for title, column in columns.items():
        column.SetName(title)
        node.AddColumn(column)
    node.EndModify(wasModifying)
    return node
