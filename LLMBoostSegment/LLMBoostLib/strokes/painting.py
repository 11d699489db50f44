"""From what is painted in the Segment Editor to what the worker is asked, and from its answer to a preview."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from llmboost.card import Card
from llmboost.messages.strokes import BACKGROUND, StrokesAnswer

from ..training.cases import Kind
from .knowledge import valuesOf

Index = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Painting:
    """Strokes of some segments.

    Attributes:
        kinds: the segments, in their order.
        array: [k, j, i]: n + 1 where the n-th segment is painted, else 0.
        start: index (i, j, k) of its first voxel in the image.
    """

    kinds: tuple[Kind, ...]
    array: np.ndarray
    start: Index

    @property
    def painted(self) -> tuple[Kind, ...]:
        """The segments that have strokes."""
        return tuple(self.kinds[value - 1] for value in np.unique(self.array) if value)

    def sameAs(self, other: Painting | None) -> bool:
        """Whether nothing was painted or erased in between."""
        return (
            other is not None
            and (self.kinds, self.start) == (other.kinds, other.start)
            and np.array_equal(self.array, other.array)
        )

    def strokes(self, card: Card | None) -> np.ndarray:
        """uint16 [k, j, i] with the values of a model's labels, see :class:`StrokesUpdateRequest`."""
        return np.array([0, *valuesOf(card, self.kinds)], np.uint16)[self.array]

    def completed(self, answer: StrokesAnswer | None, card: Card | None) -> tuple[np.ndarray, Index]:
        """The whole, as ``array`` and ``start`` are; what is painted stays. Without an answer, that alone.

        Args:
            card: of the model that the strokes of the answer were meant for.
        """
        if answer is None:
            return self.array.copy(), self.start
        table = np.zeros(BACKGROUND + 1, self.array.dtype)
        for number, value in enumerate(valuesOf(card, self.kinds), start=1):
            table[value] = number
        table[BACKGROUND] = 0  # of the answer, which knows no background strokes
        parts = ((table[answer.labels], answer.start), (self.array, self.start))
        low = np.min([start for _array, start in parts], axis=0)
        high = np.max([np.add(start, array.shape[::-1]) for array, start in parts], axis=0)
        whole = np.zeros((high - low)[::-1], self.array.dtype)
        for number, (array, start) in enumerate(parts):
            place = tuple(slice(at, at + size) for at, size in zip((start - low)[::-1], array.shape, strict=True))
            np.copyto(whole[place], array, where=array > 0 if number else True)
        i, j, k = (int(n) for n in low)
        return whole, (i, j, k)


def kindsOf(segmentationNode: Any, segmentIDs: Sequence[str]) -> tuple[Kind, ...]:
    """What these segments are, as the user named them."""
    segmentation = segmentationNode.GetSegmentation()
    segments = [segmentation.GetSegment(segmentID) for segmentID in segmentIDs]
    return tuple(Kind(one.GetName(), one.GetTerminology() if one.HasTerminology() else "") for one in segments)


def paintingOf(kinds: tuple[Kind, ...], merged: Any, image: Any) -> Painting:
    """What a label map holds that the editor merged of these segments, with places in ``image``."""
    scalars = merged.GetPointData().GetScalars()
    array = vtk_to_numpy(scalars).reshape(*reversed(merged.GetDimensions()))
    i, j, k = (a - b for a, b in zip(merged.GetExtent()[::2], image.GetExtent()[::2], strict=True))
    return Painting(kinds, array.astype(np.uint8 if len(kinds) < 256 else np.uint16), (i, j, k))


def writeLabelmap(labelmap: Any, array: np.ndarray, start: Index, image: Any) -> None:
    """Make a vtkOrientedImageData of an array [k, j, i] that starts at an index of ``image``, on its grid."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    first = [a + b for a, b in zip(image.GetExtent()[::2], start, strict=True)]
    extent = [end for low, size in zip(first, array.shape[::-1], strict=True) for end in (low, low + size - 1)]
    labelmap.SetExtent(extent)
    kind = vtk.VTK_UNSIGNED_CHAR if array.dtype == np.uint8 else vtk.VTK_UNSIGNED_SHORT
    labelmap.AllocateScalars(kind, 1)
    vtk_to_numpy(labelmap.GetPointData().GetScalars())[:] = array.ravel()
    labelmap.SetGeometryFromImageToWorldMatrix(matrix)
    labelmap.Modified()


def maskedOut(segmentationNode: Any, editorNode: Any, labelmap: Any, image: Any) -> np.ndarray | None:
    """bool [k, j, i] of a label map: where the editor's masking forbids changes; None: nowhere."""
    mode, isLimited = editorNode.GetMaskMode(), editorNode.GetSourceVolumeIntensityMask()
    if mode == slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere and not isLimited:
        return None
    mask, source, limits = slicer.vtkOrientedImageData(), None, None
    if isLimited:
        source, limits = image, list(editorNode.GetSourceVolumeIntensityMaskRange())
    segmentID = editorNode.GetMaskSegmentID() or ""
    if not segmentationNode.GenerateEditMask(mask, mode, labelmap, "", segmentID, source, limits):
        return None
    scalars = mask.GetPointData().GetScalars()
    if mask.GetExtent() != labelmap.GetExtent() or scalars is None:
        return None
    return vtk_to_numpy(scalars).reshape(*reversed(mask.GetDimensions())) > 0
