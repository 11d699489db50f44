"""From MRML nodes to what the worker takes: volumes, segments and regions of interest, in LPS mm.

The frame is the patient's: a volume is sent as it lies in the world, after its parent transforms, so that the engine
finds the patient's axes, volumes that a registration aligned fit each other, and a box drawn in the views needs no
conversion. Under a transform that is not linear, a volume is sent as if it had none: the engine's grids are straight.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from llmboost.errors import LLMBoostError
from llmboost.messages.images import Box, Volume

_LPS = np.array([-1.0, -1.0, 1.0])  # times RAS


def volumesFromNode(volumeNode: Any, color: bool = False) -> list[Volume]:
    """The channels of a volume node: one, or with ``color`` red, green and blue. Voxels are not copied.

    Raises:
        LLMBoostError: no volume, a label map, one without voxels, with several components or time points, or of the
            wrong kind (gray for a model of color images, color for any other).
    """
    name = _name(volumeNode)
    if volumeNode.IsA("vtkMRMLSequenceNode"):
        raise LLMBoostError(
            _("{name}: a sequence; choose the volume that its sequence browser shows").format(name=name)
        )
    if volumeNode.IsA("vtkMRMLLabelMapVolumeNode"):
        raise LLMBoostError(_("{name}: a label map, not an image; choose the image itself").format(name=name))
    if not volumeNode.IsA("vtkMRMLScalarVolumeNode"):
        raise LLMBoostError(_("{name}: not a volume; choose a scalar volume").format(name=name))
    image = volumeNode.GetImageData()
    scalars = image.GetPointData().GetScalars() if image else None
    if scalars is None or not scalars.GetNumberOfValues():
        raise LLMBoostError(_("{name}: holds no voxels; load it again").format(name=name))
    components = scalars.GetNumberOfComponents()
    if color != (components in (3, 4)) or (components > 1 and not color):
        several = _("{count} components").format(count=components)
        kind = {1: _("a gray image"), 3: _("a color image"), 4: _("a color image")}.get(components, several)
        wanted = _("a color image") if color else _("one component")
        raise LLMBoostError(
            _("{name}: {kind}, but the model takes {wanted}; choose another volume").format(
                name=name, kind=kind, wanted=wanted
            )
        )
    array = vtk_to_numpy(scalars).reshape(*reversed(image.GetDimensions()), components)
    matrix = worldFromVoxels(volumeNode)
    return [_volume(array[..., channel], matrix, name) for channel in range(3 if color else 1)]


def volumeFromSegment(segmentationNode: Any, segmentID: str) -> Volume:
    """A segment as a volume of 0 and 1 (uint8), on the segmentation's reference geometry.

    Raises:
        LLMBoostError: no such segment, or an empty one.
    """
    segmentation = segmentationNode.GetSegmentation()
    segment = segmentation.GetSegment(segmentID)
    if segment is None:
        raise LLMBoostError(
            _("{name}: has no segment '{segment}'; choose another segment").format(
                name=_name(segmentationNode), segment=segmentID
            )
        )
    image = slicer.vtkOrientedImageData()
    segmentationNode.GetBinaryLabelmapRepresentation(segmentID, image)
    parameter = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    geometry = segmentation.GetConversionParameter(parameter)
    if geometry:
        reference = slicer.vtkOrientedImageData()
        slicer.vtkSegmentationConverter.DeserializeImageGeometry(geometry, reference, False)
        resample = slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage
        resample(image, reference, image)
    scalars = image.GetPointData().GetScalars()
    values = vtk_to_numpy(scalars) if scalars is not None else np.zeros(0)
    if not values.any():
        raise LLMBoostError(
            _("{name}: segment '{segment}' is empty; choose another segment").format(
                name=_name(segmentationNode), segment=segment.GetName()
            )
        )
    return _placed(image, (values > 0).astype(np.uint8), segmentationNode, segment.GetName())


def volumeFromImage(image: Any, node: Any, name: str) -> Volume:
    """An image of the Segment Editor's, which lies in the frame of a segmentation node. Voxels are not copied.

    Raises:
        LLMBoostError: there are no voxels.
    """
    scalars = image.GetPointData().GetScalars() if image else None
    if scalars is None or not scalars.GetNumberOfValues():
        raise LLMBoostError(_("{name}: holds no voxels; load it again").format(name=name))
    return _placed(image, vtk_to_numpy(scalars), node, name)


def _placed(image: Any, values: np.ndarray, node: Any, name: str) -> Volume:
    """Voxels of an oriented image in the frame of a node."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    first = slicer.util.arrayFromVTKMatrix(matrix)
    first[:3, 3] = (first @ [*image.GetExtent()[::2], 1])[:3]  # an image's extent need not start at 0
    array = values.reshape(*reversed(image.GetDimensions()))
    return _volume(array, worldFromNode(node) @ first, name)


def segmentState(segmentationNode: Any, segmentID: str) -> bytes:
    """Changes whenever :func:`volumeFromSegment` would give something else."""
    segmentation = segmentationNode.GetSegmentation()
    segment = segmentation.GetSegment(segmentID)
    source = segment and segment.GetRepresentation(segmentation.GetSourceRepresentationName())
    geometry = segmentation.GetConversionParameter(
        slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    )
    known = source and (source.GetAddressAsString(""), source.GetMTime(), segment.GetLabelValue(), segment.GetName())
    return repr((known, geometry, worldFromNode(segmentationNode).tolist())).encode()


def roiFromNode(roiNode: Any, volumeNode: Any) -> Box:
    """The box of a ROI node as the worker takes it, in LPS mm.

    A box that a transform sheared becomes the smallest upright one around it.

    Raises:
        LLMBoostError: the box is not placed yet, or the volume lies under a transform that is not linear.
    """
    if not isLinear(volumeNode):
        raise LLMBoostError(
            _(
                "{name}: a ROI cannot limit a volume under a transform that is not linear; harden the transform, or"
                " remove the ROI"
            ).format(name=_name(volumeNode))
        )
    size = np.array(roiNode.GetSize())
    if not (size > 0).all():
        raise LLMBoostError(_("{name}: an empty box; place the ROI first").format(name=_name(roiNode)))
    matrix = slicer.util.arrayFromVTKMatrix(roiNode.GetObjectToWorldMatrix())
    left, _scales, right = np.linalg.svd(matrix[:3, :3])
    axes = left @ right  # the nearest rotation: the columns themselves, unless they are sheared
    corners = np.array(list(itertools.product((-0.5, 0.5), repeat=3))) * size @ matrix[:3, :3].T @ axes
    (x, y, z), (a, b, c) = (_LPS * matrix[:3, 3]).tolist(), np.ptp(corners, axis=0).tolist()
    return Box((x, y, z), (a, b, c), _LPS[:, None] * axes)


def isLinear(node: Any) -> bool:
    """Whether the node's way to the world is a matrix."""
    parent = node.GetParentTransformNode()
    return parent is None or bool(parent.IsTransformToWorldLinear())


def frameWarnings(volumeNode: Any) -> list[str]:
    """What a user should know about the frame that the volume is sent in."""
    if not isLinear(volumeNode):
        text = _("{name} lies under a transform that is not linear: it was taken as if it had none")
        return [text.format(name=_name(volumeNode))]
    if abs(abs(np.linalg.det(worldFromNode(volumeNode)[:3, :3])) - 1) > 1e-3:
        text = _("{name} lies under a transform that scales it: sizes are those after the transform")
        return [text.format(name=_name(volumeNode))]
    return []


def worldFromVoxels(volumeNode: Any) -> np.ndarray:
    """(4, 4): index (i, j, k, 1) to RAS mm in the frame that :func:`volumesFromNode` uses."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return worldFromNode(volumeNode) @ slicer.util.arrayFromVTKMatrix(matrix)


def worldFromNode(node: Any) -> np.ndarray:
    """(4, 4): from the node's own frame to the world's, RAS mm; the identity where that is not linear."""
    matrix = vtk.vtkMatrix4x4()
    if isLinear(node):
        slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(node.GetParentTransformNode(), None, matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def _volume(array: np.ndarray, matrix: np.ndarray, name: str) -> Volume:
    axes = _LPS[:, None] * matrix[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    if not np.isfinite(matrix).all() or abs(np.linalg.det(axes)) < 1e-9:
        raise LLMBoostError(
            _("{name}: its spacing or axes place the voxels nowhere; correct them in module Volumes").format(name=name)
        )
    i, j, k = (float(s) for s in spacing)
    x, y, z = (float(c) for c in _LPS * matrix[:3, 3])
    return Volume(array, (i, j, k), (x, y, z), axes / spacing)


def _name(node: Any) -> str:
    if node is None:
        raise LLMBoostError(_("no volume is chosen; load an image and choose it"))
    return node.GetName() or node.GetID()
