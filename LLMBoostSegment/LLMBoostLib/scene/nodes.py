"""Where new nodes belong in the scene, and how they are found again."""

from __future__ import annotations

from typing import Any

import slicer

_ROLE = "LLMBoost.Role"
_SOURCE = "LLMBoost.Source"


def inSameStudy(node: Any, source: Any) -> None:
    """Move a node into the folder or study of the subject hierarchy that ``source`` lies in."""
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    item, neighbor = (hierarchy.GetItemByDataNode(each) for each in (node, source))
    if item and neighbor:
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(neighbor))


def derivedNode(className: str, source: Any, role: str, name: str) -> tuple[Any, bool]:
    """The node of this role that was made of ``source`` before, or a new one of that name; and whether it is new.

    So results are updated in place: a second run does not fill the scene with doubles.
    """
    node = knownNode(className, source, role)
    if node is not None:
        return node, False
    node = slicer.mrmlScene.AddNewNodeByClass(className, slicer.mrmlScene.GenerateUniqueName(name))
    node.SetAttribute(_ROLE, role)
    node.SetNodeReferenceID(_SOURCE, source.GetID())
    inSameStudy(node, source)
    return node, True


def knownNode(className: str, source: Any, role: str) -> Any:
    """The node of this role that was made of ``source`` before; None where there is none."""
    nodes = slicer.util.getNodesByClass(className)
    return next((n for n in nodes if n.GetAttribute(_ROLE) == role and n.GetNodeReference(_SOURCE) is source), None)


def removeNode(node: Any) -> None:
    """Remove a node, and what serves it alone and would stay: how it is displayed, and where it was saved."""
    scene = slicer.mrmlScene
    if node is None or not scene.IsNodePresent(node):
        return
    displays, storages = [], []
    if isinstance(node, slicer.vtkMRMLDisplayableNode):
        displays = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
    if isinstance(node, slicer.vtkMRMLStorableNode):
        storages = [node.GetNthStorageNode(n) for n in range(node.GetNumberOfStorageNodes())]
    scene.RemoveNode(node)
    for display in displays:
        if scene.IsNodePresent(display) and display.GetDisplayableNode() is None:
            scene.RemoveNode(display)
    for storage in storages:
        if scene.IsNodePresent(storage) and storage.GetStorableNode() is None:
            scene.RemoveNode(storage)


def isDerived(node: Any) -> bool:
    """Whether a node was made by :func:`derivedNode`."""
    return node.GetAttribute(_ROLE) is not None
