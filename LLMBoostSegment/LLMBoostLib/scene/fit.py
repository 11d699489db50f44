"""Whether the chosen images suit a model, by its card alone: what can be said before anything is computed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from llmboost.card import CLASSIFICATION, STORED, Card
from llmboost.card.modality import differ, term
from llmboost.card.told import takes_mask
from llmboost.errors import LLMBoostError
from llmboost.inference.memory import memory_needed

from .segmentinput import SegmentInput
from .volumes import isLinear, roiFromNode, volumesFromNode, worldFromVoxels

LARGE = 2.0  # times the model's window, along an axis
THIN = 0.25
COARSE = 2.5  # times the model's spacing
HUGE = 2**27  # voxels
_RAS = np.diag([-1.0, -1.0, 1.0])  # to LPS, and back
_AXES = "RLAPSI"  # both ways along R, A, S, of codes such as RAS or LPS
AIR_HU = -500  # CT has voxels below, MR has none


def check(card: Card, inputs: Sequence[Any], roiNode: Any = None) -> None:
    """Refuse what the model cannot be given.

    Raises:
        LLMBoostError: an input is missing, is of the wrong kind or holds nothing, or the ROI misses it.
    """
    if not inputs or any(node is None for node in inputs):
        text = _("Choose a segment") if takes_mask(card) else _("Choose an image")
        raise LLMBoostError(text)
    if len({id(node) for node in inputs}) < len(inputs):
        raise LLMBoostError(_("The same image is chosen twice; the model takes different ones"))
    if isinstance(inputs[0], SegmentInput):
        inputs[0].volume()
        return
    for node in inputs:
        volumesFromNode(node, card.preprocessing.color)
    if roiNode is not None:
        box = roiFromNode(roiNode, inputs[0])
        _checkInside(np.array(box.center) * (-1, -1, 1), roiNode, inputs[0])


def _checkInside(center: np.ndarray, roiNode: Any, volumeNode: Any) -> None:
    """By the bounding boxes along R, A, S: the engine looks more closely."""
    bounds, roiBounds = np.zeros(6), np.zeros(6)
    volumeNode.GetRASBounds(bounds)
    roiNode.GetRASBounds(roiBounds)
    if (roiBounds[1::2] < bounds[::2]).any() or (roiBounds[::2] > bounds[1::2]).any():
        place = ", ".join(f"{mm:.0f}" for mm in center)
        raise LLMBoostError(
            _("{roi}: lies outside of {volume}, at ({place}) mm; move it, or choose no ROI").format(
                roi=roiNode.GetName(), volume=volumeNode.GetName(), place=place
            )
        )


def concerns(card: Card, inputs: Sequence[Any], roiNode: Any = None) -> list[str]:
    """What speaks against a good result, each in a sentence; for inputs that passed :func:`check`."""
    if isinstance(inputs[0], SegmentInput):
        return []
    volumeNode = inputs[0]
    found = [_modality(card, volumeNode)]
    if card.task != CLASSIFICATION:  # whose engine judges sizes itself, by what its training images were like
        found += [_extent(card, volumeNode, roiNode), _spacing(card, volumeNode)]
    voxels = int(np.prod(np.array(volumeNode.GetImageData().GetDimensions(), float)))
    if roiNode is None and voxels > HUGE:
        text = _("{millions:.0f} million voxels take long and much memory: choose a ROI.")
        found.append(text.format(millions=voxels / 1e6))
    if not isLinear(volumeNode):
        found.append(_("The image lies under a transform that is not linear: it is taken as if it had none."))
    return [text for text in found if text]


def replaced(card: Card, segmentationNode: Any, image: Any, roiNode: Any = None) -> list[str]:
    """What a user should know about the segmentation that is to get the segments."""
    if segmentationNode is None or card.task == CLASSIFICATION:
        return []
    notes = []
    segmentation, name = segmentationNode.GetSegmentation(), segmentationNode.GetName()
    sided = not isinstance(image, SegmentInput) and card.needs_cascade(extentMm(card, image, roiNode).tolist())
    labels = card.sided_labels if sided else card.labels
    present = [label.name for label in labels if segmentation.GetSegmentIdBySegmentName(label.name)]
    if present:
        text = _("Replaces {segments} in {name}; Undo brings them back.")
        notes.append(text.format(segments=", ".join(present), name=name))
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    reference = segmentationNode.GetNodeReference(role)
    if reference is not None and reference is not image:
        text = _("{name} belongs to another image, {image}.")
        notes.append(text.format(name=name, image=reference.GetName()))
    return notes


def extentMm(card: Card, volumeNode: Any, roiNode: Any = None) -> np.ndarray:
    """(3,): how far the image, or the ROI in it, reaches along the axes that the model goes by.

    These are axes of the image's own, as the engine has it: one that lies askew is not larger for that.
    """
    return _grid(card, volumeNode, roiNode)[0]


def coveredMm(card: Card, volumeNode: Any, roiNode: Any = None) -> np.ndarray:
    """The same, as far as the model's patches are to cover it: of a 2D model, whose slices are the image's, as if they
    lay as far apart as those that it knows."""
    extent, spacing = _grid(card, volumeNode, roiNode)
    across = card.preprocessing.slice_axis
    if across is not None:
        extent[across] *= card.preprocessing.spacing[across] / spacing[across]
    return extent


def memoryNeeded(card: Card, volumeNode: Any, roiNode: Any = None) -> float:
    """The bytes that segmenting the image takes, or the ROI in it."""
    extent, spacing = _grid(card, volumeNode, roiNode)
    shape = np.maximum(np.rint(extent / spacing), 1).astype(int).tolist()
    return memory_needed(card, tuple(shape), tuple(spacing.tolist()))


def _grid(card: Card, volumeNode: Any, roiNode: Any) -> tuple[np.ndarray, np.ndarray]:
    """How far the image, or the ROI in it, reaches, and from voxel to voxel, in mm along the axes that the model goes
    by (:func:`llmboost.inference.preprocessing.orient`)."""
    preprocessing = card.preprocessing
    matrix = worldFromVoxels(volumeNode)[:3, :3]
    spacing = np.linalg.norm(matrix, axis=0)
    axes = matrix / spacing
    shape = np.array(volumeNode.GetImageData().GetDimensions())
    sizes = spacing * shape
    if roiNode is not None and isLinear(volumeNode):
        box = roiFromNode(roiNode, volumeNode)
        sizes = np.abs((_RAS @ axes).T @ box.axes) @ box.size
    order = [0, 1, 2]
    if preprocessing.orientation != STORED:
        nearest = _nearest(axes)
        order = [nearest[_AXES.index(code) // 2] for code in preprocessing.orientation]
        across = preprocessing.slice_axis
        if across is not None and shape[order[across]] > 1:  # slices are those of the image
            distances = np.round(spacing[order], 3) + np.eye(3)[across] * 1e-3
            flat = shape[order] == 1
            order.insert(across, order.pop(int(np.argmax(flat if flat.any() else distances))))
    return np.array(sizes[order]), spacing[order]


def patchMm(card: Card) -> np.ndarray:
    """(3,): what the model sees at once, along the axes that it goes by."""
    return np.array(card.preprocessing.patch_size) * card.preprocessing.spacing


def patchAlongRasMm(card: Card, axes: np.ndarray) -> np.ndarray:
    """(3,): the same along R, A and S; across the slices of a 2D model, as far as one likes (infinite).

    Args:
        axes: (3, 3), a column a voxel axis of the image, for models that go by how it is stored.
    """
    preprocessing, patch = card.preprocessing, patchMm(card)
    if preprocessing.slice_axis is not None:
        patch[preprocessing.slice_axis] = np.inf
    if preprocessing.orientation == STORED:
        return np.array(patch[_nearest(axes)])
    result = np.zeros(3)
    result[[_AXES.index(code) // 2 for code in preprocessing.orientation]] = patch
    return result


def _nearest(axes: np.ndarray) -> list[int]:
    """Of each of R, A and S, the column of ``axes`` (3, 3) that lies nearest to it, each once."""
    nearest = max(itertools.permutations(range(3)), key=lambda order: np.abs(axes[range(3), order]).sum())
    return list(nearest)


def _modality(card: Card, volumeNode: Any) -> str:
    told = modalityInScene(volumeNode)
    expected = term(card.modality)
    if term(told):  # else a word that says nothing, such as "OT" (other)
        if differ(told, card.modality):
            text = _("The image is {told}, the model was trained on {expected}.")
            return text.format(told=told, expected=card.modality)
        return ""
    lowest = volumeNode.GetImageData().GetScalarRange()[0]
    if expected == "MR" and lowest < AIR_HU:
        return _("The image has values like CT, the model was trained on MR.")
    if expected == "CT" and lowest >= 0:
        return _("The image has no negative values, unlike CT in Hounsfield units, which the model was trained on.")
    return ""


def modalityInScene(volumeNode: Any) -> str:
    """What DICOM says, as the subject hierarchy keeps it; empty for images from elsewhere."""
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(volumeNode)
    name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
    return hierarchy.GetItemAttribute(item, name).upper() if item else ""


def _extent(card: Card, volumeNode: Any, roiNode: Any) -> str:
    preprocessing = card.preprocessing
    across = [axis for axis in range(3) if axis != preprocessing.slice_axis]
    if preprocessing.slice_axis is None and min(volumeNode.GetImageData().GetDimensions()) == 1:
        return _("The image is a single slice, the model takes volumes.")
    extent, window = extentMm(card, volumeNode, roiNode), patchMm(card)
    sizes = {"extent": _mm(extent), "window": _mm(window)}
    if (extent < THIN * window)[across].any():
        return _("Too thin: {extent}; the model looks at {window} at once.").format(**sizes)
    if card.cascade is None and card.origin is None and (extent > LARGE * window)[across].any():
        if roiNode is not None:
            text = _("The ROI ({extent}) is much larger than what the model looks at at once ({window}).")
        else:
            text = _(
                "The image ({extent}) is much larger than what the model looks at at once ({window}). If it was trained"
                " on crops, crop the image or choose a ROI."
            )
        return text.format(**sizes)
    return ""


def _spacing(card: Card, volumeNode: Any) -> str:
    preprocessing = card.preprocessing
    matrix = worldFromVoxels(volumeNode)[:3, :3]
    spacing = np.linalg.norm(matrix, axis=0)
    nearest = np.abs(matrix / spacing).argmax(axis=0)  # the axis R, A or S that each voxel axis follows
    coarse = [
        (mm, preprocessing.spacing[axis])
        for mm, axis in zip(spacing, nearest, strict=True)
        if axis != preprocessing.slice_axis and mm > COARSE * preprocessing.spacing[axis]
    ]
    if not coarse:
        return ""
    mm, expected = max(coarse)
    text = _("Voxels of {mm:.1f} mm are coarse for a model that works at {expected:g} mm: small structures get lost.")
    return text.format(mm=mm, expected=expected)


def _mm(lengths: np.ndarray) -> str:
    return " × ".join(f"{length:.0f}" for length in lengths) + " mm"
