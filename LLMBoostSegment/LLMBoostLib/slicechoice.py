"""Which slices of an image a 2D model looks at: all, or the one that a slice view shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from llmboost.errors import LLMBoostError

from .volumes import worldFromVoxels

_ALONG = 0.01  # the cosine between a view's normal and an axis that lies in its plane, at most


def shownSlice(sliceNode: Any, volumeNode: Any) -> int:
    """The index k of the volume's slice that a view shows.

    Raises:
        LLMBoostError: the view shows no slice of the volume, or cuts across its slices.
    """
    if not _isAlong(sliceNode, volumeNode):
        raise LLMBoostError(
            _("View {view} cuts across the slices of {volume}: turn it (Rotate to Volume Plane), or take all").format(
                view=sliceNode.GetLayoutName(), volume=volumeNode.GetName()
            )
        )
    position = slicer.util.arrayFromVTKMatrix(sliceNode.GetSliceToRAS())[:, 3]
    k = round((np.linalg.inv(worldFromVoxels(volumeNode)) @ position)[2])
    if not 0 <= k < volumeNode.GetImageData().GetDimensions()[2]:
        raise LLMBoostError(
            _("View {view} shows no slice of {volume}: scroll to one").format(
                view=sliceNode.GetLayoutName(), volume=volumeNode.GetName()
            )
        )
    return k


def _isAlong(sliceNode: Any, volumeNode: Any) -> bool:
    """Whether the view's plane is that of the volume's slices."""
    normal = slicer.util.arrayFromVTKMatrix(sliceNode.GetSliceToRAS())[:3, 2]
    across = worldFromVoxels(volumeNode)[:3, :2]
    return bool((np.abs(normal @ across / np.linalg.norm(across, axis=0)) < _ALONG).all())


class SliceChoice:
    """Fills a QComboBox: all slices, and the views whose plane is that of the slices."""

    def __init__(self, comboBox: Any) -> None:
        self._box = comboBox
        self._views: list[Any] = []

    def show(self, volumeNode: Any) -> None:
        """Offer what there is for this volume, and keep the choice: a view that was turned is none for all slices."""
        chosen = self._box.currentIndex
        view = self._views[chosen - 1] if 0 < chosen <= len(self._views) else None
        nodes = slicer.util.getNodesByClass("vtkMRMLSliceNode")
        self._views = [node for node in nodes if node is view or _isAlong(node, volumeNode)]
        texts = [_("All {count}").format(count=volumeNode.GetImageData().GetDimensions()[2])]
        texts += [_("The one shown in view {name}").format(name=node.GetLayoutName()) for node in self._views]
        if [self._box.itemText(n) for n in range(self._box.count)] != texts:
            self._box.clear()
            self._box.addItems(texts)
            self._box.currentIndex = self._views.index(view) + 1 if view in self._views else 0

    def index(self, volumeNode: Any) -> int | None:
        """The chosen slice; None: all. Raises LLMBoostError where the chosen view shows none."""
        chosen = self._box.currentIndex
        return shownSlice(self._views[chosen - 1], volumeNode) if chosen > 0 else None
