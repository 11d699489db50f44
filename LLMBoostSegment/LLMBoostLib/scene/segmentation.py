"""From a label map to segments: of a new segmentation, or of one that is there, with a way back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk

from llmboost.card.anatomy import GUESSED
from llmboost.errors import LLMBoostError
from llmboost.messages.images import DrawnLabel

from .nodes import inSameStudy, removeNode

LABEL = "LLMBoost.Label"  # the tag of a segment that tells its label value in the model
_LABELMAP = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
_SURFACE = slicer.vtkSegmentationConverter.GetClosedSurfaceRepresentationName()
_DISPLAY = (
    "Visibility",
    "Visibility3D",
    "Visibility2DFill",
    "Visibility2DOutline",
    "Opacity3D",
    "Opacity2DFill",
    "Opacity2DOutline",
)


class Undo:
    """What a segmentation was before :func:`writeSegmentation`, for Revert.

    Other segments may be edited, added or removed in between: they stay as they are then.
    """

    def __init__(self, segmentationNode: Any, created: bool):
        self.segmentationNode = segmentationNode
        self.created = created
        self._attributes = {name: segmentationNode.GetAttribute(name) for name in segmentationNode.GetAttributeNames()}
        self._display = slicer.vtkMRMLSegmentationDisplayNode()
        self._displays: list[Any] = []  # that were made
        if segmentationNode.GetDisplayNode():
            self._display.Copy(segmentationNode.GetDisplayNode())
        self._added: list[str] = []
        self._changed: list[tuple[str, str, Any]] = []  # ID of the segment, that of the next one, the segment itself

    def willAdd(self, segmentID: str) -> None:
        self._added.append(segmentID)

    def willDisplay(self, displayNode: Any) -> None:
        self._displays.append(displayNode)

    def willChange(self, segmentID: str) -> None:
        segmentation = self.segmentationNode.GetSegmentation()
        # out of a layer that it shares with others, so that the copy holds its own voxels alone
        segmentation.SeparateSegmentLabelmap(segmentID)
        segment = slicer.vtkSegment()
        segment.DeepCopy(segmentation.GetSegment(segmentID))
        following = segmentation.GetNthSegmentID(segmentation.GetSegmentIndex(segmentID) + 1)
        self._changed.append((segmentID, following, segment))

    def revert(self) -> None:
        """Bring back the segments that were changed, and remove those (or the segmentation) that were made.

        Raises:
            LLMBoostError: the segmentation is no longer in the scene.
        """
        node = self.segmentationNode
        if not slicer.mrmlScene.IsNodePresent(node):
            raise LLMBoostError(_("the segmentation was removed from the scene: nothing to revert"))
        if self.created:
            removeNode(node)
            return
        segmentation = node.GetSegmentation()
        with _surfacesRenewed(node):
            for segmentID in self._added:
                if segmentation.GetSegment(segmentID):
                    segmentation.RemoveSegment(segmentID)
            for entry in reversed(self._changed):  # the last first: the next segment is there again
                self._restore(*entry)
            for name in [*node.GetAttributeNames(), *self._attributes]:
                node.SetAttribute(name, self._attributes.get(name))
        for display in self._displays:
            removeNode(display)

    def _restore(self, segmentID: str, following: str, segment: Any) -> None:
        segmentation = self.segmentationNode.GetSegmentation()
        present = segmentation.GetSegment(segmentID)
        if present:
            segmentation.ClearSegment(segmentID)  # erases it from the layer that it shares
            present.RemoveAllRepresentations()
            present.DeepCopy(segment)
            return
        segmentation.AddSegment(segment, segmentID, following if segmentation.GetSegment(following) else "")
        display = self.segmentationNode.GetDisplayNode()
        for name in _DISPLAY if display else ():
            value = getattr(self._display, f"GetSegment{name}")(segmentID)
            getattr(display, f"SetSegment{name}")(segmentID, value)


def writeSegmentation(
    labelmap: np.ndarray,
    labels: Sequence[DrawnLabel],
    volumeNode: Any,
    segmentationNode: Any = None,
    *,
    name: str = "",
    provenance: Mapping[str, str] | None = None,
    closedSurface: bool = False,
) -> Undo:
    """Make each label a segment, in the order of ``labels``; an absent one becomes an empty segment.

    Without ``segmentationNode`` a new segmentation is made. In an existing one, a segment of a label's name gets new
    voxels and keeps its looks, other labels are added behind, and all else is left alone: rename a segment to keep it.

    Args:
        labelmap: integers [k, j, i] on the grid of the volume; 0 is background.
        labels: the label map's.
        name: of a new segmentation.
        provenance: becomes attributes of the node and tags of the segments, which outlive the scene in .seg.nrrd files.

    Returns:
        the way back; its ``segmentationNode`` is the result.

    Raises:
        LLMBoostError: the volume is no longer in the scene, or has other sizes now; the segmentation's source is not
            a label map.
    """
    if not slicer.mrmlScene.IsNodePresent(volumeNode):
        raise LLMBoostError(_("the volume was removed from the scene meanwhile: its segmentation is dropped"))
    if labelmap.shape != tuple(reversed(volumeNode.GetImageData().GetDimensions())):
        raise LLMBoostError(_("{name}: was changed meanwhile; segment it again").format(name=volumeNode.GetName()))
    _check(segmentationNode)
    created = segmentationNode is None
    if created:
        name = slicer.mrmlScene.GenerateUniqueName(name or "Segmentation")
        segmentationNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    undo = Undo(segmentationNode, created)
    try:
        with _surfacesRenewed(segmentationNode, closedSurface):
            _write(undo, labelmap, labels, volumeNode, provenance or {})
    except BaseException:
        undo.revert()
        raise
    return undo


def _check(segmentationNode: Any) -> None:
    if segmentationNode is None:
        return
    if not slicer.mrmlScene.IsNodePresent(segmentationNode):
        raise LLMBoostError(_("the output segmentation was removed from the scene meanwhile: choose another"))
    segmentation = segmentationNode.GetSegmentation()
    if segmentation.GetNumberOfSegments() and segmentation.GetSourceRepresentationName() != _LABELMAP:
        raise LLMBoostError(
            _(
                "{name}: consists of {kind}s, not of binary labelmaps; make these its source in module Segmentations,"
                " or choose another output"
            ).format(name=segmentationNode.GetName(), kind=segmentation.GetSourceRepresentationName().lower())
        )


def _write(
    undo: Undo, labelmap: np.ndarray, labels: Sequence[DrawnLabel], volumeNode: Any, provenance: Mapping
) -> None:
    node = undo.segmentationNode
    segmentation = node.GetSegmentation()
    if not segmentation.GetNumberOfSegments():
        segmentation.SetSourceRepresentationName(_LABELMAP)
        node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())  # has to be there before the voxels
        inSameStudy(node, volumeNode)
        node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    tags = {**provenance, **_forExport(undo, volumeNode, provenance)}
    if not node.GetDisplayNode():
        node.CreateDefaultDisplayNodes()
        undo.willDisplay(node.GetDisplayNode())
    layer = _layer(labelmap, volumeNode, node)
    for label in labels:
        segmentID = segmentation.GetSegmentIdBySegmentName(label.name)
        if segmentID:
            undo.willChange(segmentID)
            segmentation.ClearSegment(segmentID)
            segment = segmentation.GetSegment(segmentID)
        else:
            segment = _newSegment(label)
        segment.SetLabelValue(label.value)
        segment.AddRepresentation(_LABELMAP, layer)
        for key, text in {LABEL: str(label.value), **tags}.items():
            segment.SetTag(key, text.replace("|", " "))  # the separator of tags in files
        if not segmentID:
            segmentID = segmentation.GenerateUniqueSegmentID(f"Segment_{label.value}")
            undo.willAdd(segmentID)
            segmentation.AddSegment(segment, segmentID)
    for key, text in provenance.items():
        node.SetAttribute(key, text)


def _forExport(undo: Undo, volumeNode: Any, provenance: Mapping[str, str]) -> dict[str, str]:
    """What Slicer's own export to DICOM SEG (of the extension QuantitativeReporting) wants to know where the image came
    from the DICOM database: the instances that a new segmentation refers to, and by tags, who drew a segment."""
    uids = volumeNode.GetAttribute("DICOM.instanceUIDs")
    if not uids:
        return {}
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(undo.segmentationNode)
    if item and undo.created:
        name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMReferencedInstanceUIDsAttributeName()
        hierarchy.SetItemAttribute(item, name, uids)
    drawer = f"LLMBoost {provenance.get('LLMBoost.Model', '')}".strip()
    return {"DICOM.SegmentAlgorithmType": "AUTOMATIC", "DICOM.SegmentAlgorithmName": drawer}


def _newSegment(label: DrawnLabel) -> Any:
    segment = slicer.vtkSegment()
    segment.SetName(label.name)
    segment.SetColor(*(c / 255 for c in label.color))
    # generated ones would follow the terminology
    segment.SetNameAutoGenerated(False)
    segment.SetColorAutoGenerated(False)
    segment.SetTerminology(label.terminology)
    if label.guessed:
        segment.SetTag(*GUESSED)
    status = slicer.vtkSlicerSegmentationsModuleLogic
    status.SetSegmentStatus(segment, status.InProgress)  # no person has confirmed it yet
    return segment


def _layer(labelmap: np.ndarray, volumeNode: Any, segmentationNode: Any) -> Any:
    """The label map as one image that all segments share, in the segmentation's frame."""
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(labelmap.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(labelmap.ravel(), deep=True))
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    image.SetGeometryFromImageToWorldMatrix(matrix)
    parents = volumeNode.GetParentTransformNode(), segmentationNode.GetParentTransformNode()
    if parents[0] is not parents[1]:
        transform = vtk.vtkGeneralTransform()
        slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(*parents, transform)
        slicer.vtkOrientedImageDataResample.TransformOrientedImage(image, transform)
    return image


@contextmanager
def _surfacesRenewed(segmentationNode: Any, closedSurface: bool = False) -> Iterator[None]:
    """Change segments, and give all of them surfaces again if some had them: a change of voxels drops surfaces."""
    closedSurface = closedSurface or segmentationNode.GetSegmentation().ContainsRepresentation(_SURFACE)
    with slicer.util.NodeModify(segmentationNode):
        yield
    if closedSurface:
        segmentationNode.CreateClosedSurfaceRepresentation()
