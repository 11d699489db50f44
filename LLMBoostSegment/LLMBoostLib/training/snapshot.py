"""From nodes to the snapshots of cases, and from a snapshot back into the scene."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from llmboost import library
from llmboost.card import PALETTE, Card, read_card
from llmboost.card.modality import term
from llmboost.errors import LLMBoostError
from llmboost.io.case_files import case_id
from llmboost.io.dataset import Dataset, DatasetCase, load, read_dataset
from llmboost.io.image import VOLUMES, Image
from llmboost.io.labels import IGNORE
from llmboost.messages.images import DrawnLabel

from ..scene.fit import modalityInScene
from ..scene.segmentation import writeSegmentation
from ..scene.volumes import volumesFromNode
from .cases import TRAIN, UNLABELED, UNLABELED_IMAGES, Kind, Snapshot, digestOf
from .casestore import CaseStore
from .crops import findCrops
from .runfolders import newId

CASE = "LLMBoost.Case"  # attribute of the nodes that a case was made of: its id, or those of several crops
_CROPS, _MODEL = "LLMBoost.Crops", "LLMBoost.CropsFor"  # attributes: what the cases have of an image, for which model
_SUBJECT = "LLMBoost.Subject"  # attribute of a patient in the subject hierarchy: a generated id
_LABELMAP = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()


def addCase(
    store: CaseStore, volumeNode: Any, segmentationNode: Any = None, role: str = TRAIN, card: Card | None = None
) -> Snapshot:
    """The same as :func:`addCases`, for an image that is one case; of several, the first."""
    return addCases(store, volumeNode, segmentationNode, role, card)[0]


def addCases(
    store: CaseStore,
    volumeNode: Any,
    segmentationNode: Any = None,
    role: str = TRAIN,
    card: Card | None = None,
    *,
    drawn: Any = None,
    partly: bool | None = None,
) -> list[Snapshot]:
    """Keep a copy of an image and of its segments as a case; what is edited afterwards does not change it.

    Of an image that is larger than the crops that a model knows, a crop around each structure that was drawn becomes a
    case, all of one subject. A segmentation that is a case of this store already updates that one.

    Args:
        card: of the model that is to learn from it; by default of the one that drew the segments.
        drawn: a segmentation with the segments, where they are not those of the case's own, such as a preview of it.
        partly: whether voxels without a segment are not labeled; None: as it is or follows from the labels.

    Raises:
        LLMBoostError: the image is of no use, what was drawn does not fit the model's crops, or the files cannot be
            written.
    """
    image = _image(volumeNode)
    masks = masksOf(segmentationNode, volumeNode, drawn) if segmentationNode is not None else []
    modality, subject = modalityInScene(volumeNode), _subject(volumeNode)
    known = caseOf(store, segmentationNode) if segmentationNode is not None else None
    known = known or caseOf(store, volumeNode)
    card = _cropper(store, segmentationNode, card, image)
    crops: dict[str, Any] = {}
    if card is not None and any(mask.any() for _kind, mask in masks):
        earlier = _crops(store, segmentationNode)
        subject = subject or (known.subject if known else newId())
        crops = _addCrops(store, earlier, card, image, masks, role, modality, subject)
        waiting = [known.id] if known is not None and known.role == UNLABELED else []
        store.remove(id for id in {*earlier, *waiting} if id in store.cases and id not in crops)
        cases = [store.cases[id] for id in crops]
    elif known is not None and known.digest == digestOf(image):
        cases = [store.update(known.id, image, masks)]
    else:
        cases = [store.add(image, masks, role, modality=modality, subject=subject)]
    if partly is not None:
        for case in cases:
            store.setPartly(case.id, partly)
        cases = [store.cases[case.id] for case in cases]
    for node in (volumeNode, segmentationNode):
        if node is not None:
            node.SetAttribute(CASE, " ".join(case.id for case in cases))
            node.SetAttribute(_CROPS, json.dumps(crops) if crops else None)
            node.SetAttribute(_MODEL, card.name if card is not None and crops else None)
    return cases


def _cropper(store: CaseStore, segmentationNode: Any, card: Card | None, image: Image) -> Card | None:
    """The card of the model that learns from crops of this image; None: the image is learned from as it is."""
    if segmentationNode is None:
        return None
    if _crops(store, segmentationNode):  # as before
        card = _installed(segmentationNode.GetAttribute(_MODEL))
    card = card or _installed(segmentationNode.GetAttribute("LLMBoost.Model"))
    extent = [n * mm for n, mm in zip(image.shape, image.spacing, strict=True)]
    return card if card is not None and card.needs_cascade(extent) else None


def _installed(name: str | None) -> Card | None:
    """The card of a model of this computer."""
    with suppress(LLMBoostError):
        return read_card(library.find(name)) if name else None
    return None


def _addCrops(
    store: CaseStore,
    earlier: dict[str, Any],
    card: Card,
    image: Image,
    masks: list[tuple[Kind, np.ndarray]],
    role: str,
    modality: str,
    subject: str,
) -> dict[str, Any]:
    """Add or update a case for each structure, all or none; what :func:`_crops` gives from then on."""
    ids = {one["target"]: id for id, one in earlier.items()}
    places = {one["target"]: tuple(slice(*ends) for ends in one["inside"]) for one in earlier.values()}
    found: dict[str, Any] = {}
    new: list[str] = []
    try:
        for crop in findCrops(card, image, masks, places):
            part, own = crop.image(image), crop.masks(image, masks, card)
            case = store.cases.get(ids.get(crop.target, ""))
            if case is not None and case.digest == digestOf(part):
                case = store.update(case.id, part, own)
            else:
                case = store.add(part, own, case.role if case else role, modality=modality, subject=subject)
                new.append(case.id)
            inside = [[one.start, one.stop] for one in crop.inside]
            found[case.id] = {"target": crop.target, "side": crop.side, "inside": inside}
    except LLMBoostError:
        store.remove(id for id in new if id in store.cases)
        raise
    return found


def _crops(store: CaseStore, segmentationNode: Any) -> dict[str, Any]:
    """What is known of the crops that are cases of this store: target, side and voxels, by the case's id."""
    try:
        known = json.loads(segmentationNode.GetAttribute(_CROPS) or "{}")
        found = {id: one for id, one in known.items() if id in store.cases}
        places = [[int(end) for end in ends] for one in found.values() for ends in one["inside"]]
        return found if all(len(ends) == 2 for ends in places) else {}
    except (ValueError, TypeError, KeyError, AttributeError):  # of a scene that somebody else wrote
        return {}


def sideOf(case: Snapshot) -> str:
    """Of a case that is a crop of an image in the scene: the side of the body, in words; else empty."""
    node = nodesOf(case)[1]
    known = (node.GetAttribute(_CROPS) if node is not None else None) or "{}"
    with suppress(ValueError, TypeError, KeyError, AttributeError):
        return str(json.loads(known)[case.id]["side"])
    return ""


def caseOf(store: CaseStore, node: Any) -> Snapshot | None:
    """The case that was made of a node; of several, the first."""
    return next(iter(casesOf(store, node)), None)


def casesOf(store: CaseStore, node: Any) -> list[Snapshot]:
    """All cases that were made of a node."""
    return [store.cases[id] for id in _ids(node) if id in store.cases]


def nodesOf(case: Snapshot) -> tuple[Any, Any]:
    """The volume and the segmentation in the scene that a case was made of; None where there is none any more."""
    volumes, segmentations = (
        [node for node in slicer.util.getNodesByClass(className) if case.id in _ids(node)]
        for className in ("vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode")
    )
    segmentationNode = next(iter(segmentations), None)
    if segmentationNode is None:
        # without segments, nothing tells what of the image the case is, unless it is all
        return next((node for node in volumes if not node.GetAttribute(_CROPS)), None), None
    own = segmentationNode.GetNodeReference(slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole())
    return (own if own in volumes else next(iter(volumes), None)), segmentationNode


def _ids(node: Any) -> list[str]:
    """Of the cases that were made of a node."""
    return (node.GetAttribute(CASE) or "").split()


def openCase(store: CaseStore, case: Snapshot) -> tuple[Any, Any]:
    """The volume node and the segmentation node of a case, from its snapshot where they are not in the scene."""
    volumeNode, segmentationNode = nodesOf(case)
    if volumeNode is None:
        volumeNode = _makeVolumeNode(store.read(case), f"case {case.id}")
        volumeNode.SetAttribute(CASE, case.id)
    if segmentationNode is None:
        segmentationNode = _makeSegmentationNode(store.masks(case), volumeNode)
        segmentationNode.SetAttribute(CASE, case.id)
    return volumeNode, segmentationNode


def masksOf(segmentationNode: Any, volumeNode: Any, drawn: Any = None) -> list[tuple[Kind, np.ndarray]]:
    """The segments, bool [i, j, k] on the volume's grid; a segmentation on another grid is resampled.

    Args:
        drawn: another segmentation, with the voxels of the segments of the same IDs.
    """
    segmentation = segmentationNode.GetSegmentation()
    shape = volumeNode.GetImageData().GetDimensions()
    masks = []
    for segmentID in segmentation.GetSegmentIDs():
        kind = segmentation.GetSegment(segmentID)
        node = drawn if drawn is not None and drawn.GetSegmentation().GetSegment(segmentID) else segmentationNode
        segment = node.GetSegmentation().GetSegment(segmentID)
        mask = np.zeros(shape, bool)
        if not _isEmpty(node.GetSegmentation(), segment):
            array = slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentID, volumeNode)
            mask = (array > 0).transpose()
        masks.append((Kind(kind.GetName(), _terminology(kind)), mask))
    return masks


def segmentsState(segmentationNode: Any) -> tuple[int, ...]:
    """A value that differs once segments were changed, added or removed."""
    segmentation = segmentationNode.GetSegmentation()
    segments = [segmentation.GetNthSegment(n) for n in range(segmentation.GetNumberOfSegments())]
    layers = [segment.GetRepresentation(_LABELMAP) for segment in segments]
    return tuple(layer.GetMTime() if layer else 0 for layer in layers)


def addAllOfScene(store: CaseStore, role: str = TRAIN, card: Card | None = None) -> list[Snapshot]:
    """Every segmentation that lies on a volume becomes a case, unless it is one; see :func:`addCases`."""
    reference = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    cases: list[Snapshot] = []
    problems: list[str] = []  # that do not keep others from becoming cases
    for segmentationNode in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        volumeNode = segmentationNode.GetNodeReference(reference)
        ready = volumeNode is not None and segmentationNode.GetSegmentation().GetNumberOfSegments()
        if ready and caseOf(store, segmentationNode) is None:
            try:
                cases += addCases(store, volumeNode, segmentationNode, role, card)
            except LLMBoostError as error:
                problems.append(str(error))
    if problems:
        raise LLMBoostError("\n".join(problems))
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
        text = _("{folder}: {count} images a case; this panel takes one image a case")
        raise LLMBoostError(text.format(folder=folder, count=len(dataset.modalities)))
    names = {**dataset.labels, **({dataset.ignore: IGNORE} if dataset.ignore is not None else {})}
    roles = {id: role for role, ids in dataset.splits.items() for id in ids}
    found = [case for id, case in dataset.cases.items() if id in roles or case.label is None]
    images = folder / UNLABELED_IMAGES
    alone = [path for path in sorted(images.iterdir()) if path.name.endswith(tuple(VOLUMES))] if images.is_dir() else []
    found += [DatasetCase(case_id(path), (path,)) for path in alone]
    subjects: dict[str, str] = {}
    for number, case in enumerate(found):
        if not onCase(number, len(found)):
            return number
        (image, *_others), labels = load(case)
        masks = []
        if labels is not None:
            if not image.same_grid(labels):
                text = _("{path}: lies on another grid than its image; mend it, then import again")
                raise LLMBoostError(text.format(path=case.label))
            masks = [
                (Kind(name), mask)
                for value, name in names.items()
                if (mask := labels.array == value).any() and value != case.rest
            ]
        own = dataset.subjects.get(case.id)
        subject = subjects.setdefault(own, newId()) if own else ""
        role, modality = roles.get(case.id, TRAIN), term(dataset.modalities[0])
        store.add(image, masks, role, modality=modality, subject=subject, partly=_partly(dataset, case, labels))
    return len(found)


def _partly(dataset: Dataset, case: DatasetCase, labels: Image | None) -> bool | None:
    """What a data set tells of what has no label in a case, see :class:`.cases.Snapshot`."""
    if case.rest:
        return True
    shown = set() if labels is None else set(np.unique(labels.array).tolist())
    return None if dataset.partly_labeled is None or dataset.undrawn(case.id, shown) else False


def _image(volumeNode: Any) -> Image:
    """The voxels as they lie in the world; raises LLMBoostError for what is no gray image of finite numbers."""
    (volume,) = volumesFromNode(volumeNode)
    if volume.array.dtype.kind == "f" and not np.isfinite(volume.array).all():
        text = _("{name}: holds NaN or infinite voxels; replace them by numbers")
        raise LLMBoostError(text.format(name=volumeNode.GetName()))
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
        labels.append(DrawnLabel(value, kind.name, PALETTE[(value - 1) % len(PALETTE)], kind.terminology))
    return writeSegmentation(labelmap, labels, volumeNode, name=f"{volumeNode.GetName()} segments").segmentationNode
