"""Tables of results: the sizes of segments, and how any table is filled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from llmboost.card import ASYMMETRY_FORMULA, SHARE_FORMULA, Volumetry
from llmboost.messages.images import DrawnLabel, SegmentAnswer

from .nodes import derivedNode
from .volumes import worldFromNode

SEGMENT, VOLUME, VOXELS = "Segment", "Volume (mL)", "Voxels"
SHARE, ASYMMETRY = "% of TIV", "Asymmetry (%)"
TOTAL = "Total intracranial (TIV)"
DECIMALS = 3  # of mL and percent: the views show all that a cell holds
NOTHING_COMPARED = Volumetry()
Column = Sequence[str] | Sequence[int] | Sequence[float]
_ARRAYS = {str: vtk.vtkStringArray, float: vtk.vtkDoubleArray, int: vtk.vtkIdTypeArray}
_LABELMAP = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()


def writeTable(
    labelmap: np.ndarray,
    labels: Sequence[DrawnLabel],
    volumesMl: Mapping[str, float],
    segmentationNode: Any,
    volumetry: Volumetry = NOTHING_COMPARED,
) -> Any:
    """The table node of a segmentation, a row a label: its name, mL and voxels, and what volumes say together. An
    earlier one is updated."""
    rows = [(label.name, volumesMl[label.name], int(np.count_nonzero(labelmap == label.value))) for label in labels]
    node, _isNew = derivedNode("vtkMRMLTableNode", segmentationNode, "volumes", f"{segmentationNode.GetName()} volumes")
    _fillSizes(node, rows, volumetry)
    return node


def measureTable(tableNode: Any, segmentationNode: Any, volumetry: Volumetry = NOTHING_COMPARED) -> None:
    """Measure the segments of a table made by :func:`writeTable` again, for they may have been edited."""
    segmentation = segmentationNode.GetSegmentation()
    names = [tableNode.GetCellText(row, 0) for row in range(tableNode.GetNumberOfRows())]
    names = [name for name in names if name != TOTAL]
    scale = abs(np.linalg.det(worldFromNode(segmentationNode)[:3, :3]))
    rows = []
    for name in names:
        segment = segmentation.GetSegment(segmentation.GetSegmentIdBySegmentName(name))
        layer = segment.GetRepresentation(_LABELMAP) if segment else None
        scalars = layer.GetPointData().GetScalars() if layer else None
        voxels = int(np.count_nonzero(vtk_to_numpy(scalars) == segment.GetLabelValue())) if scalars else 0
        size = float(np.prod(layer.GetSpacing())) if layer else 0.0
        rows.append((name, voxels * scale * size / 1000, voxels))
    if not all(map(segmentation.GetSegmentIdBySegmentName, volumetry.intracranial)):
        volumetry = replace(volumetry, intracranial=())  # what was removed or renamed no longer adds to the whole
    _fillSizes(tableNode, rows, volumetry)


def writeSeriesTable(name: str, index: str, points: Sequence[str], answers: Sequence[SegmentAnswer]) -> Any:
    """A new table node, a row a time point: its segments' volumes and, where any time point tells them, what these say
    together."""
    volumes = [answer.volumes_ml for answer in answers]
    compared = [answer.volumetry for answer in answers]
    totals = [each.intracranial_ml(ml) for each, ml in zip(compared, volumes, strict=True)]
    shares = [each.intracranial_percent(ml) for each, ml in zip(compared, volumes, strict=True)]
    indices = [each.asymmetry_percent(ml) for each, ml in zip(compared, volumes, strict=True)]
    texts = _descriptions()
    columns: dict[str, Column] = {index: list(points)}
    columns |= {f"{label.name} (mL)": [float(ml[label.name]) for ml in volumes] for label in answers[0].labels}
    if any(total is not None for total in totals):
        columns[f"{TOTAL} (mL)"] = [_text(total, DECIMALS) for total in totals]
    descriptions = {}
    for found, unit, decimals in ((shares, SHARE, DECIMALS), (indices, ASYMMETRY, 1)):
        for structure in dict.fromkeys(structure for each in found for structure in each):
            title = f"{structure} ({unit})" if unit == SHARE else f"{structure} {unit.lower()}"
            columns[title] = [_text(each.get(structure), decimals) for each in found]
            descriptions[title] = texts[unit]
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
    fillTable(node, columns, descriptions)
    return node


def fillTable(node: Any, columns: Mapping[str, Column], descriptions: Mapping[str, str] | None = None) -> None:
    """Replace what a table node holds; each column's values are of one kind. Descriptions are tool tips of columns."""
    wasModifying = node.StartModify()
    node.SetUseColumnTitleAsColumnHeader(True)
    node.RemoveAllColumns()
    for title, values in columns.items():
        column = _ARRAYS[type(values[0]) if values else str]()
        column.SetName(title)
        for value in values:
            column.InsertNextValue(value)
        node.AddColumn(column)
    for title, text in (descriptions or {}).items():
        node.SetColumnDescription(title, text)
    node.EndModify(wasModifying)


def _fillSizes(node: Any, rows: Sequence[tuple[str, float, int]], volumetry: Volumetry) -> None:
    volumes, counts = {name: ml for name, ml, _ in rows}, {name: voxels for name, _, voxels in rows}
    total, shares = volumetry.intracranial_ml(volumes), volumetry.intracranial_percent(volumes)
    indices = volumetry.asymmetry_percent(volumes)
    sides = {side: indices.get(pair.structure) for pair in volumetry.pairs for side in (pair.left, pair.right)}
    if total is not None:
        rows = [(TOTAL, total, sum(counts[name] for name in shares)), *rows]
        shares[TOTAL] = 100.0
    names = [name for name, _ml, _voxels in rows]
    columns: dict[str, Column] = {
        SEGMENT: names,
        VOLUME: [round(float(milliliters), DECIMALS) for _name, milliliters, _voxels in rows],
    }
    if shares:
        columns[SHARE] = [_text(shares.get(name), DECIMALS) for name in names]
    if indices:
        columns[ASYMMETRY] = [_text(sides.get(name), 1) for name in names]
    columns[VOXELS] = [int(voxels) for _name, _ml, voxels in rows]
    fillTable(node, columns, {title: text for title, text in _descriptions().items() if title in columns})


def _text(value: float | None, decimals: int) -> str:
    """Columns of numbers have no empty cells."""
    return "" if value is None else f"{value:.{decimals}f}"


def _descriptions() -> dict[str, str]:
    share = _(
        "{formula}. The total intracranial volume (TIV) is the volume of all segments together that have a share."
    )
    index = _(
        "Asymmetry index: {formula}. Above 0 where the left side is larger; empty where there is no other side, or one"
        " of them is empty or may be cut off."
    )
    return {SHARE: share.format(formula=SHARE_FORMULA), ASYMMETRY: index.format(formula=ASYMMETRY_FORMULA)}
