"""From nodes to the snapshots of cases, and from a snapshot back into the scene."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from llmboost.errors import LLMBoostError
from llmboost.image import VOLUMES, Image
from llmboost.learn.dataset import IGNORE, identity, load, read_dataset
from llmboost.learn.dataset import Case as DatasetCase

from ..fit import modalityInScene
from ..segmentation import writeSegmentation
from ..volumes import volumesFromNode
from .casestore import TRAIN, UNLABELLED_IMAGES, Case, CaseStore, Kind, digestOf, newId

CASE = "LLMBoost.Case"  # attribute of the nodes that a case was made of: its id
_SUBJECT = "LLMBoost.Subject"  # attribute of a patient in the subject hierarchy: a generated id
COLORS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))
_LABELMAP = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()


def addCase(store: CaseStore, volumeNode: Any, segmentationNode: Any = None, role: str = TRAIN) -> Case:
    """Keep a copy of an image and of its segments as a case; what is edited afterwards does not change it.

    A segmentation that is a case of this store already updates that one.

    Raises:
        LLMBoostError: the image is of no use, or the files cannot be written.
    """
    image = _image(volumeNode)
    masks = masksOf(segmentationNode, volumeNode) if segmentationNode is not None else []
    known = caseOf(store, segmentationNode) if segmentationNode is not None else None
    known = known or caseOf(store, volumeNode)
    if known is not None and known.digest == digestOf(image):
        case = store.update(known.id, image, masks)
    else:
        case = store.add(image, masks, role, modality=modalityInScene(volumeNode), subject=_subject(volumeNode))
    for node in (volumeNode, segmentationNode):
        if node is not None:
            node.SetAttribute(CASE, case.id)
    return case


def caseOf(store: CaseStore, node: Any) -> Case | None:
    """The case that was made of a node."""
    return store.cases.get(node.GetAttribute(CASE) or "")


def nodesOf(case: Case) -> tuple[Any, Any]:
    """The volume and the segmentation in the scene that a case was made of; None where there is none any more."""
    found = []
    for className in ("vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode"):
        nodes = (node for node in slicer.util.getNodesByClass(className) if node.GetAttribute(CASE) == case.id)
        found.append(next(nodes, None))
    return found[0], found[1]


def openCase(store: CaseStore, case: Case) -> tuple[Any, Any]:
    """The volume node and the segmentation node of a case, from its snapshot where they are not in the scene."""
    volumeNode, segmentationNode = nodesOf(case)
    if volumeNode is None:
        volumeNode = _makeVolumeNode(store.read(case), f"case {case.id}")
        volumeNode.SetAttribute(CASE, case.id)
    if segmentationNode is None:
        segmentationNode = _makeSegmentationNode(store.masks(case), volumeNode)
        segmentationNode.SetAttribute(CASE, case.id)
    return volumeNode, segmentationNode


def masksOf(segmentationNode: Any, volumeNode: Any) -> list[tuple[Kind, np.ndarray]]:
    """The segments, bool [i, j, k] on the volume's grid; a segmentation on another grid is resampled."""
    segmentation = segmentationNode.GetSegmentation()
    shape = volumeNode.GetImageData().GetDimensions()
    masks = []
    for segmentID in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segmentID)
        mask = np.zeros(shape, bool)
        if not _isEmpty(segmentation, segment):
            array = slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, segmentID, volumeNode)
            mask = (array > 0).transpose()
        masks.append((Kind(segment.GetName(), _terminology(segment)), mask))
    return masks


def segmentsState(segmentationNode: Any) -> tuple[int, ...]:
    """A value that differs once segments were changed, added or removed."""
    segmentation = segmentationNode.GetSegmentation()
    segments = [segmentation.GetNthSegment(n) for n in range(segmentation.GetNumberOfSegments())]
    layers = [segment.GetRepresentation(_LABELMAP) for segment in segments]
    return tuple(layer.GetMTime() if layer else 0 for layer in layers)


def addAllOfScene(store: CaseStore, role: str = TRAIN) -> list[Case]:
    """Every segmentation that lies on a volume becomes a case, unless it is one; raises LLMBoostError."""
    reference = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    cases = []
    for segmentationNode in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        volumeNode = segmentationNode.GetNodeReference(reference)
        ready = volumeNode is not None and segmentationNode.GetSegmentation().GetNumberOfSegments()
        if ready and caseOf(store, segmentationNode) is None:
            cases.append(addCase(store, volumeNode, segmentationNode, role))
    return cases


def importFolder(store: CaseStore, folder: Path, onCase: Callable[[int, int], bool] = lambda n, count: True) -> int:
    """Copy the cases of a folder in the Decathlon's form; splits.json tells their roles.

    Args:
        onCase: is told how many of how many are done; False stops there.

    Returns:
        how many were added.

    Raises:
        LLMBoostError: the folder is no such data set, has several channels, or a file cannot be read.
    """
    dataset = read_dataset(folder)
    if len(dataset.modalities) != 1:
        raise LLMBoostError(f"{folder}: {len(dataset.modalities)} images a case; this panel takes one image a case")
    names = {**dataset.labels, **({dataset.ignore: IGNORE} if dataset.ignore is not None else {})}
    roles = {id: role for role, ids in dataset.splits.items() for id in ids}
    found = [case for id, case in dataset.cases.items() if id in roles or case.label is None]
    images = folder / UNLABELLED_IMAGES
    alone = [path for path in sorted(images.iterdir()) if path.name.endswith(tuple(VOLUMES))] if images.is_dir() else []
    found += [DatasetCase(identity(path), (path,)) for path in alone]
    subjects: dict[str, str] = {}
    for number, case in enumerate(found):
        if not onCase(number, len(found)):
            return number
        (image, *_), labels = load(case)
        masks = []
        if labels is not None:
            if not image.same_grid(labels):
                raise LLMBoostError(f"{case.label}: lies on another grid than its image; mend it, then import again")
            masks = [(Kind(name), mask) for value, name in names.items() if (mask := labels.array == value).any()]
        own = dataset.subjects.get(case.id)
        subject = subjects.setdefault(own, newId()) if own else ""
        store.add(image, masks, roles.get(case.id, TRAIN), modality=_modality(dataset.modalities[0]), subject=subject)
    return len(found)


def _image(volumeNode: Any) -> Image:
    """The voxels as they lie in the world; raises LLMBoostError for what is no gray image of finite numbers."""
    (volume,) = volumesFromNode(volumeNode)
    if volume.array.dtype.kind == "f" and not np.isfinite(volume.array).all():
        raise LLMBoostError(f"{volumeNode.GetName()}: holds NaN or infinite voxels; replace them by numbers")
    return Image(volume.array.transpose(), volume.spacing, volume.origin, volume.direction)


def _isEmpty(segmentation: Any, segment: Any) -> bool:
    """Whether nothing was drawn yet; what consists of surfaces has to be converted first, to know."""
    if segmentation.GetSourceRepresentationName() != _LABELMAP:
        return False
    layer = segment.GetRepresentation(_LABELMAP)
    return layer is None or layer.GetPointData().GetScalars() is None


def _terminology(segment: Any) -> str:
    return segment.GetTerminology() if segment.HasTerminology() else ""


def _subject(volumeNode: Any) -> str:
    """A generated id of the patient that the subject hierarchy puts the volume under; empty where it tells none.

    It is kept in the scene, so that all cases of a patient get the same one without a word about who it is.
    """
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    level = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMLevelPatient()
    item = hierarchy.GetItemAncestorAtLevel(hierarchy.GetItemByDataNode(volumeNode), level)
    if not item:
        return ""
    if not hierarchy.GetItemAttribute(item, _SUBJECT):
        hierarchy.SetItemAttribute(item, _SUBJECT, newId())
    return hierarchy.GetItemAttribute(item, _SUBJECT)


def _modality(text: str) -> str:
    """DICOM's term of what a data set calls its modality."""
    return {"MRI": "MR", "T1": "MR", "T2": "MR", "FLAIR": "MR"}.get(text.upper(), text.upper())


def _makeVolumeNode(image: Image, name: str) -> Any:
    ijkToRAS = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    node = slicer.util.addVolumeFromArray(np.ascontiguousarray(image.array.transpose()), ijkToRAS, name)
    node.CreateDefaultDisplayNodes()
    return node


def _makeSegmentationNode(masks: list[tuple[Kind, np.ndarray]], volumeNode: Any) -> Any:
    """A segmentation of a snapshot's segments, or an empty one."""
    labelmap = np.zeros(volumeNode.GetImageData().GetDimensions()[::-1], np.uint16)
    labels = []
    for value, (kind, mask) in enumerate(masks, start=1):
        labelmap[mask.transpose()] = value
        color = COLORS[(value - 1) % len(COLORS)]
        labels.append({"value": value, "name": kind.name, "color": color, "terminology": kind.terminology})
    return writeSegmentation(labelmap, labels, volumeNode, name=volumeNode.GetName()).segmentationNode
