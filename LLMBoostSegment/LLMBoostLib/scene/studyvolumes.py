"""Which volumes of a study or folder of the subject hierarchy suit a model: chosen as the engine chooses series."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk

from llmboost.card import Card
from llmboost.studies import Selection, SeriesFacts, along_ras

from .fit import modalityInScene
from .frames import framesOf
from .nodes import isDerived
from .volumes import worldFromVoxels

_IMAGE_TYPE = "0008,0008"


@dataclass(frozen=True)
class StudyChoice:
    """What is taken of a study.

    Attributes:
        name: of the study or folder.
        taken: volume nodes.
        left: name of each other volume, and the reason.
        doubt: what nothing settles, such as two that suit equally well; else empty.
    """

    name: str
    taken: tuple[Any, ...]
    left: tuple[tuple[str, str], ...]
    doubt: str


def studyItemOf(volumeNode: Any) -> int:
    """The item of the study that a volume lies in, else of its folder; 0: it lies in neither."""
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(volumeNode)
    if not item:
        return 0
    level = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMLevelStudy()
    parent = hierarchy.GetItemAncestorAtLevel(item, level) or hierarchy.GetItemParent(item)
    return 0 if parent == hierarchy.GetSceneItemID() else parent


def chooseVolumes(itemID: int, card: Card, series: str = "auto") -> list[StudyChoice]:
    """Of each study below an item of the subject hierarchy, what of its volumes is wanted.

    Volumes that lie in no study are one by their folder. Label maps, and maps that were made by this module, are none.

    Args:
        itemID: of a study, a folder, a patient, or of the scene.
        series: as ``--series`` of the command line: "auto", "all" or a rule.

    Raises:
        LLMBoostError: ``series`` is no rule.
    """
    hierarchy, selection = slicer.mrmlScene.GetSubjectHierarchyNode(), Selection.of(series, card)
    studies: dict[int, list[Any]] = {}
    for node in _volumesBelow(itemID):
        studies.setdefault(studyItemOf(node), []).append(node)
    choices = []
    for item, nodes in studies.items():
        facts = [factsOf(node) for node in nodes]
        choice = selection.choose(facts, card.preprocessing)
        taken = tuple(nodes[n] for n in choice.taken)
        left = tuple((nodes[n].GetName(), why) for n, why in choice.left)
        choices.append(StudyChoice(hierarchy.GetItemName(item) if item else "", taken, left, choice.doubt))
    return choices


def _volumesBelow(itemID: int) -> list[Any]:
    hierarchy, items = slicer.mrmlScene.GetSubjectHierarchyNode(), vtk.vtkIdList()
    hierarchy.GetItemChildren(itemID, items, True)
    nodes = [hierarchy.GetItemDataNode(items.GetId(n)) for n in range(items.GetNumberOfIds())]
    return [
        node
        for node in nodes
        if isinstance(node, slicer.vtkMRMLScalarVolumeNode)
        and not node.IsA("vtkMRMLLabelMapVolumeNode")
        and node.GetImageData() is not None
        and not isDerived(node)
    ]


def factsOf(volumeNode: Any) -> SeriesFacts:
    """What the scene, and Slicer's DICOM database where it knows the volume, say of it."""
    image = volumeNode.GetImageData()
    matrix = worldFromVoxels(volumeNode)[:3, :3]
    mm, sizes = np.linalg.norm(matrix, axis=0), image.GetDimensions()
    components = image.GetNumberOfScalarComponents()
    frames, constants = framesOf(volumeNode), slicer.vtkMRMLSubjectHierarchyConstants
    facts = SeriesFacts(
        number=_number(_attribute(volumeNode, constants.GetDICOMSeriesNumberAttributeName())),
        description=volumeNode.GetName(),
        study=_studyDescription(volumeNode),
        modality=modalityInScene(volumeNode),
        kinds=_imageType(volumeNode),
        no_image="" if components in (1, 3, 4) else f"{components} components a voxel",
        across=int(np.abs(matrix[:, 2]).argmax()),
        slices=sizes[2],
        volumes=frames[1].GetNumberOfDataNodes() if frames else 1,
        color=components in (3, 4),
    )
    return along_ras(facts, matrix / mm, mm.tolist(), sizes)


def _attribute(volumeNode: Any, name: str) -> str:
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(volumeNode)
    return hierarchy.GetItemAttribute(item, name) if item else ""


def _studyDescription(volumeNode: Any) -> str:
    """As DICOM tells it; a folder's name is anything."""
    hierarchy, constants = slicer.mrmlScene.GetSubjectHierarchyNode(), slicer.vtkMRMLSubjectHierarchyConstants
    item = studyItemOf(volumeNode)
    return hierarchy.GetItemAttribute(item, constants.GetDICOMStudyDescriptionAttributeName()) if item else ""


def _imageType(volumeNode: Any) -> tuple[str, ...]:
    """Of the first image that the volume was loaded from; nothing where the database does not know it."""
    uids = (volumeNode.GetAttribute("DICOM.instanceUIDs") or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    if not uids or database is None or not database.isOpen:
        return ()
    return tuple(kind.upper() for kind in database.instanceValue(uids[0], _IMAGE_TYPE).split("\\") if kind)


def _number(text: str) -> int | None:
    with suppress(TypeError, ValueError):
        return int(text)
    return None
