"""The section Input of the panel: as many rows as the chosen model needs."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from llmboost.card import CLASSIFICATION, Card

from ..scene import fit
from ..scene.frames import framesOf
from ..scene.segmentinput import SegmentInput, takesSegment
from .slicechoice import SliceChoice, sliceCount

MAX_CHANNELS = 4


def classifies(card: Card | None) -> bool:
    """Whether the model tells classes, and draws no segments."""
    return card is not None and card.task == CLASSIFICATION


class InputView:
    """Shows the rows, and tells what they hold.

    Args:
        ui: inputSelector, inputSelector2 to 4 and their labels; segmentSelector, framesBox and slicesBox and their
            labels; tryButton.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._slices = SliceChoice(ui.slicesBox)

    def inputs(self, parameterNode: Any, card: Card | None) -> list[Any]:
        """What the model is to be given: volume nodes, or a segment; None where nothing is chosen."""
        if card and takesSegment(card):
            selector = self._ui.segmentSelector
            segmentationNode, segmentID = selector.currentNode(), selector.currentSegmentID()
            return [SegmentInput(segmentationNode, segmentID) if segmentationNode and segmentID else None]
        steps = card.preprocessing if card else None
        count = 1 if steps is None or steps.color else min(steps.channels, MAX_CHANNELS)  # a color image is one
        names = ["inputVolume", *(f"inputVolume{number}" for number in range(2, count + 1))]
        return [getattr(parameterNode, name) for name in names]

    def show(self, parameterNode: Any, card: Card | None, inputs: list[Any], usable: bool) -> bool:
        """Show the rows that the model needs.

        Args:
            usable: the model can be given these inputs.

        Returns:
            whether the image shows a sequence of which all time points are wanted.
        """
        ui = self._ui
        mask = card is not None and takesSegment(card)
        ui.segmentLabel.visible = ui.segmentSelector.visible = mask
        for number in range(MAX_CHANNELS):
            shown = not mask and number < len(inputs)
            for name in ("inputLabel", "inputSelector"):
                getattr(ui, f"{name}{number + 1 if number else ''}").visible = shown
        ui.tryButton.visible = not mask and inputs[0] is None
        single = not mask and len(inputs) == 1 and not classifies(card)
        every = self._showFrames(inputs[0] if single else None, parameterNode.allFrames)
        several = usable and _takesSlices(card, inputs) and sliceCount(card, inputs[0]) > 1
        if several:
            self._slices.show(card, inputs[0])
        ui.slicesLabel.visible = ui.slicesBox.visible = several
        return every

    def slice(self, card: Card, inputs: list[Any]) -> dict[str, int | None]:
        """The logic's argument ``slice`` for a 2D classifier, none for other models.

        Raises:
            LLMBoostError: the view that was chosen shows no slice of the image.
        """
        return {"slice": self._slices.index(card, inputs[0])} if _takesSlices(card, inputs) else {}

    def placeRoi(self, roiNode: Any, card: Card | None, volumeNode: Any) -> None:
        """Place a new ROI in the middle of the image, as large as the model looks at once."""
        if roiNode is None or card is None or not isinstance(volumeNode, slicer.vtkMRMLVolumeNode):
            return
        bounds = [0.0] * 6
        volumeNode.GetRASBounds(bounds)
        roiNode.SetCenter(*((low + high) / 2 for low, high in zip(bounds[::2], bounds[1::2], strict=True)))
        edges = [high - low for low, high in zip(bounds[::2], bounds[1::2], strict=True)]
        roiNode.SetSize(*map(min, fit.patchMm(card), edges))

    def _showFrames(self, volumeNode: Any, every: bool) -> bool:
        """Of an image that shows a sequence: the time points; whether there are any, and all are wanted."""
        box, found = self._ui.framesBox, framesOf(volumeNode)
        self._ui.framesLabel.visible = box.visible = found is not None
        if not found:
            return False
        browser, sequence = found
        count, current = sequence.GetNumberOfDataNodes(), browser.GetSelectedItemNumber() + 1
        one = _("This one ({current} of {count})") if current else _("This one, of {count}")  # none is selected
        texts = [one.format(current=current, count=count)]
        texts.append(_("All {count}").format(count=count))
        if [box.itemText(n) for n in range(box.count)] != texts:
            box.clear()
            box.addItems(texts)
        box.currentIndex = int(every)
        return every


def _takesSlices(card: Card | None, inputs: list[Any]) -> bool:
    """Whether the model classifies slices of these images."""
    isImage = isinstance(inputs[0], slicer.vtkMRMLVolumeNode)
    return isImage and classifies(card) and card.preprocessing.slice_axis is not None
