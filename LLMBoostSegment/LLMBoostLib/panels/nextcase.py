"""The image that comes after the one that was segmented: of the scene, or of the folder that it was loaded from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from llmboost.errors import LLMBoostError
from llmboost.io.image import VOLUMES

from ..scene.nodes import isDerived


def nextImage(volumeNode: Any) -> Any:
    """The next image without a segmentation of its own: of the scene, else of the folder, which is loaded.

    Raises:
        LLMBoostError: there is none, or it cannot be read.
    """
    node = _ofScene(volumeNode)
    if node is not None:
        return node
    path = _ofFolder(volumeNode)
    if path is None:
        raise LLMBoostError(
            _(
                "There is no next image: every image of the scene has a segmentation. Load one, or a file of a folder"
                " with more"
            )
        )
    try:
        return slicer.util.loadVolume(str(path), {})
    except RuntimeError as error:
        raise LLMBoostError(_("{path}: cannot be loaded ({error})").format(path=path, error=error)) from error


def _ofScene(volumeNode: Any) -> Any:
    """In the order of the scene, from the image on, and then from the beginning."""
    reference = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    segmentations = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    done = {node.GetNodeReferenceID(reference) for node in segmentations}
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    images = [node for node in nodes if node.GetClassName() == volumeNode.GetClassName() and not isDerived(node)]
    place = images.index(volumeNode) if volumeNode in images else -1
    order = [*images[place + 1 :], *images[: max(place, 0)]]
    return next((node for node in order if node.GetID() not in done and node.GetImageData()), None)


def _ofFolder(volumeNode: Any) -> Path | None:
    """The file after the image's own, by name, that is not in the scene yet."""
    own = _file(volumeNode)
    if own is None or not own.parent.is_dir():
        return None
    loaded = {_file(node) for node in slicer.util.getNodesByClass("vtkMRMLVolumeNode")}
    files = sorted(path for path in own.parent.iterdir() if path.name.endswith(tuple(VOLUMES)))
    return next((path for path in files if path.name > own.name and path not in loaded), None)


def _file(volumeNode: Any) -> Path | None:
    """That a volume was loaded from."""
    storage = volumeNode.GetStorageNode()
    name = storage.GetFullNameFromFileName() if storage else ""
    return Path(name) if name else None
