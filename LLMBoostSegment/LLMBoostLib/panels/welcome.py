"""Three ways in for a scene without an image: a sample, the user's own image, the user's own model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import qt
import slicer

from ..scene import samples
from .errordisplay import errorsShown


class Widgets(Protocol):
    loadButton: qt.QPushButton
    ownModelButton: qt.QPushButton
    sampleButton: qt.QPushButton
    tryButton: qt.QPushButton
    welcomeFrame: qt.QWidget


class Welcome:
    """A line above everything, as long as no image is chosen.

    Args:
        onImage: is called with an image to begin with.
        onModel: is called by who brings a model.
    """

    def __init__(self, ui: Widgets, onImage: Callable[[Any], None], onModel: Callable[[], None]) -> None:
        self._onImage, self._frame = onImage, ui.welcomeFrame
        ui.sampleButton.connect("clicked()", lambda: self._take(samples.downloadHead))
        ui.tryButton.connect("clicked()", lambda: self._take(samples.makePhantomVolume))
        ui.loadButton.connect("clicked()", lambda: self._take(_load))
        ui.ownModelButton.connect("clicked()", onModel)

    def show(self, visible: bool) -> None:
        self._frame.visible = visible

    def _take(self, get: Callable[[], Any]) -> None:
        with errorsShown():
            node = get()
            if node is not None:
                slicer.util.setSliceViewerLayers(background=node, fit=True)
                self._onImage(node)


def _load() -> Any:
    """Slicer's dialog for files and folders; the image that came last."""
    before = set(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"))
    slicer.util.openAddDataDialog()
    new = [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if node not in before]
    images = [node for node in new if node.GetClassName() == "vtkMRMLScalarVolumeNode"]
    return images[-1] if images else None
