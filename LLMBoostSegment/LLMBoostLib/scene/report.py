"""What the worker needs of the scene to write the report of a case."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer

from llmboost.messages.images import DrawnLabel
from llmboost.messages.report import ReportRequest
from llmboost.messages.words import ReportForm

from .result import Result
from .tables import TOTAL, VOLUME, VOXELS
from .volumes import volumesFromNode

_ENTROPY = "entropy"


def canBeReported(result: object) -> bool:
    """Whether a result is of one image: of a sequence's time points, each has its own volumes."""
    return isinstance(result, Result) and result.tableNode.GetColumnIndex(VOXELS) >= 0


@dataclass(frozen=True)
class Drawn:
    """Segments as they are now.

    Attributes:
        labelmap: [k, j, i] on the volume's grid.
        volumesMl: of each label by name, as the table has them.
    """

    labelmap: np.ndarray
    labels: tuple[DrawnLabel, ...]
    volumesMl: dict[str, float]


def drawnNow(result: Result) -> Drawn:
    """The segments of a result that the table lists, as they are now."""
    segmentation, table = result.segmentationNode.GetSegmentation(), result.tableNode
    voxels = slicer.util.arrayFromVolume(result.volumeNode)
    labelmap, volumesMl = np.zeros(voxels.shape[:3], np.uint16), dict[str, float]()
    labels = list[DrawnLabel]()
    column = table.GetColumnIndex(VOLUME)
    for row in range(table.GetNumberOfRows()):
        name = table.GetCellText(row, 0)
        if name == TOTAL:
            continue
        segmentID = segmentation.GetSegmentIdBySegmentName(name)
        segment, value, shown, terminology = segmentation.GetSegment(segmentID), len(labels) + 1, (0, 0, 0), ""
        volumesMl[name] = float(table.GetCellText(row, column))
        if segment and volumesMl[name]:
            mask = slicer.util.arrayFromSegmentBinaryLabelmap(result.segmentationNode, segmentID, result.volumeNode)
            labelmap[mask > 0] = value
        if segment:
            red, green, blue = (round(255 * part) for part in segment.GetColor())
            shown = red, green, blue
            terminology = segment.GetTerminology() if segment.HasTerminology() else ""
        labels.append(DrawnLabel(value, name, shown, terminology))
    return Drawn(labelmap, tuple(labels), volumesMl)


def drawerOf(result: Result, model: str) -> str:
    """Whom a result is of: where another model drew in place of the one that was asked, of that one."""
    return str(result.segmentationNode.GetAttribute("LLMBoost.DrawnBy") or model)


def reportRequest(result: Result, model: str, form: ReportForm, *, color: bool, edited: bool) -> ReportRequest:
    """The request to report segments as they are now, with the sizes that their table tells.

    Args:
        model: that was asked.
        color: it takes color images.
        edited: a person has changed the segments since.

    Raises:
        LLMBoostError: the image cannot be used.
    """
    volume = volumesFromNode(result.volumeNode, color)[0]
    drawn = drawnNow(result)
    node = result.mapNodes.get(_ENTROPY)
    entropy = None
    if node is not None and slicer.mrmlScene.IsNodePresent(node):
        entropy = np.rint(255 * slicer.util.arrayFromVolume(node)).astype(np.uint8)
    return ReportRequest(
        model=drawerOf(result, model),
        form=form,
        title=result.volumeNode.GetName(),
        volume=volume,
        labelmap=drawn.labelmap,
        labels=drawn.labels,
        volumes_ml=drawn.volumesMl,
        volumetry=result.volumetry,
        quality=result.quality,
        entropy=entropy,
        warnings=result.warnings,
        edited=edited,
    )
