"""Which slices of an image a 2D model looks at: all, or the one that a slice view shows."""

from __future__ import annotations

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
    """Fills a QComboBox: all slices, and the views whose plane is that of the slices."""

    def __init__(self, comboBox: Any) -> None:
        self._box = comboBox
        self._views: list[Any] = []

    def show(self, card: Card, volumeNode: Any) -> None:
        """Offer what there is for this volume, and keep the choice: a view that was turned is none for all slices."""
        chosen = self._box.currentIndex
        view = self._views[chosen - 1] if 0 < chosen <= len(self._views) else None
        nodes, axis = slicer.util.getNodesByClass("vtkMRMLSliceNode"), sliceAxis(card, volumeNode)
        self._views = [node for node in nodes if node is view or _isAlong(node, volumeNode, axis)]
        texts = [_("All {count}").format(count=sliceCount(card, volumeNode))]
        texts += [_("The one shown in view {name}").format(name=node.GetLayoutName()) for node in self._views]
        if [self._box.itemText(n) for n in range(self._box.count)] != texts:
            self._box.clear()
            self._box.addItems(texts)
            self._box.currentIndex = self._views.index(view) + 1 if view in self._views else 0

    def index(self, card: Card, volumeNode: Any) -> int | None:
        """The chosen slice; None: all. Raises LLMBoostError where the chosen view shows none."""
        chosen = self._box.currentIndex
        if chosen <= 0 or sliceCount(card, volumeNode) == 1:
            return None
        return shownSlice(self._views[chosen - 1], volumeNode, sliceAxis(card, volumeNode))
