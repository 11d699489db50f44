"""Which slices of an image a 2D model looks at: all, or the one that a slice view shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from llmboost.card import Card
from llmboost.errors import LLMBoostError

from ..scene.volumes import worldFromVoxels

_ALONG = 0.01  # the cosine between a view's normal and an axis that lies in its plane, at most


def sliceAxis(card: Card, volumeNode: Any) -> int:
    """The axis (i, j, k: 0, 1, 2) across the slices that the engine gives to a 2D model.

    It is that of one voxel, else that of the largest spacing, else the one nearest to the model's own.
    """
    matrix = worldFromVoxels(volumeNode)[:3, :3]
    spacing = np.linalg.norm(matrix, axis=0)
    own = int(np.abs(matrix[card.preprocessing.slice_axis] / spacing).argmax())
    single = [axis for axis, count in enumerate(volumeNode.GetImageData().GetDimensions()) if count == 1]
    if single:
        return own if own in single else single[0]
    return int(np.argmax(np.round(spacing, 3) + 1e-3 * np.eye(3)[own]))


def sliceCount(card: Card, volumeNode: Any) -> int:
    """How many slices the image has for a 2D model."""
    return int(volumeNode.GetImageData().GetDimensions()[sliceAxis(card, volumeNode)])


def shownSlice(sliceNode: Any, volumeNode: Any, axis: int) -> int:
    """The index along ``axis`` of the volume's slice that a view shows.

    Raises:
        LLMBoostError: the view shows no slice of the volume, or cuts across its slices.
    """
    names = {"view": sliceNode.GetLayoutName(), "volume": volumeNode.GetName()}
    if not _isAlong(sliceNode, volumeNode, axis):
        text = _("View {view} cuts across the slices of {volume}: turn it (Rotate to Volume Plane), or take all")
        raise LLMBoostError(text.format(**names))
    position = slicer.util.arrayFromVTKMatrix(sliceNode.GetSliceToRAS())[:, 3]
    index = round((np.linalg.inv(worldFromVoxels(volumeNode)) @ position)[axis])
    if not 0 <= index < volumeNode.GetImageData().GetDimensions()[axis]:
        raise LLMBoostError(_("View {view} shows no slice of {volume}: scroll to one").format(**names))
    return index


def _isAlong(sliceNode: Any, volumeNode: Any, axis: int) -> bool:
    """Whether the view's plane is that of the slices across this axis of the volume."""
    normal = slicer.util.arrayFromVTKMatrix(sliceNode.GetSliceToRAS())[:3, 2]
    plane = np.delete(worldFromVoxels(volumeNode)[:3, :3], axis, axis=1)
    return bool((np.abs(normal @ plane / np.linalg.norm(plane, axis=0)) < _ALONG).all())


class SliceChoice:
    """Fills a QComboBox: all slices, and the views whose plane is that of the slices.

    Args:
        onChosen: is called with the name of the view that the user chooses; empty: all slices.
    """

    def __init__(self, comboBox: Any, onChosen: Callable[[str], None]) -> None:
        self._box, self._onChosen = comboBox, onChosen
        self._views: list[str] = []
        comboBox.connect("activated(int)", self._onActivated)

    def show(self, card: Card, volumeNode: Any, chosen: str) -> None:
        """Offer what there is for this volume, and the chosen view even if it was turned, as it is none for all."""
        axis = sliceAxis(card, volumeNode)
        nodes = {node.GetLayoutName(): node for node in slicer.util.getNodesByClass("vtkMRMLSliceNode")}
        self._views = [name for name in nodes if name == chosen or _isAlong(nodes[name], volumeNode, axis)]
        texts = [_("All {count}").format(count=sliceCount(card, volumeNode))]
        texts += [_("The one shown in view {name}").format(name=name) for name in self._views]
        if [self._box.itemText(n) for n in range(self._box.count)] != texts:
            self._box.clear()
            self._box.addItems(texts)
        self._box.currentIndex = self._views.index(chosen) + 1 if chosen in self._views else 0

    def _onActivated(self, index: int) -> None:
        self._onChosen(self._views[index - 1] if index else "")


def sliceOfView(card: Card, volumeNode: Any, chosen: str) -> int | None:
    """The slice that the chosen view shows; None: all. Raises LLMBoostError where it shows none."""
    if sliceCount(card, volumeNode) == 1:
        return None
    nodes = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    view = next((node for node in nodes if node.GetLayoutName() == chosen), None)
    return None if view is None else shownSlice(view, volumeNode, sliceAxis(card, volumeNode))
