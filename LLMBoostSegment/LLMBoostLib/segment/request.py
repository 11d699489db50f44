"""What is asked about images of the scene, as the user asked it, so that its answer can be explained later."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import slicer
from slicer.i18n import tr as _

from llmboost import library
from llmboost.card import Card, read_card
from llmboost.errors import LLMBoostError
from llmboost.messages.images import ImageRequest, Volume
from llmboost.messages.words import Device, chosen

from ..scene import fit
from ..scene.segmentinput import SegmentInput
from ..scene.volumes import roiFromNode, volumesFromNode

Q = TypeVar("Q", bound=ImageRequest[Any])


@dataclass(frozen=True, eq=False)
class RunRequest:
    """A run that is asked for.

    Attributes:
        inputs: the volume nodes or the segment.
        model: a name of the library, or a model file.
        roiNode: limits what the model sees.
        device: what computes.
        slice, anyway: for classifiers, see :meth:`LLMBoostSegmentLogic.classify`.
    """

    inputs: Sequence[Any]
    model: str
    roiNode: Any = None
    device: str = "auto"
    slice: int | None = None
    anyway: bool = False
    _place: list[float] | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_place", _place(self.roiNode))

    @property
    def arguments(self) -> dict[str, Any]:
        """The logic's, with which the same is classified or explained."""
        names = "model", "roiNode", "device", "slice", "anyway"
        return {name: getattr(self, name) for name in names}

    @property
    def nodes(self) -> list[Any]:
        """Of the inputs."""
        return [getattr(each, "segmentationNode", each) for each in self.inputs]

    def check(self) -> None:
        """Raises LLMBoostError where asking again would be about something else."""
        if _place(self.roiNode) != self._place:
            raise LLMBoostError(_("The ROI was moved since the result was made: make it again before it is explained"))

    def volumeNodes(self) -> list[Any]:
        """What results can lie on; of a segment, a volume is made."""
        return [each.makeVolumeNode() if isinstance(each, SegmentInput) else each for each in self.inputs]

    def message(self, kind: type[Q], volumes: Sequence[Volume] | None = None) -> Q:
        """A request of this kind to the worker, with all that requests about images have.

        Args:
            volumes: in place of the inputs' own, such as a time point's.

        Raises:
            LLMBoostError: an input cannot be used, or the ROI is not placed.
        """
        isSegment = isinstance(self.inputs[0], SegmentInput)
        return kind(
            model=self.model,
            volumes=tuple(self._volumes() if volumes is None else volumes),
            device=chosen(Device, self.device, "device"),
            roi=roiFromNode(self.roiNode, self.nodes[0]) if self.roiNode else None,
            modality="" if isSegment else fit.modalityInScene(self.inputs[0]),
        )

    def _volumes(self) -> list[Volume]:
        """The channels of all inputs."""
        color = takesColor(self.model)
        isSegment = isinstance(self.inputs[0], SegmentInput)
        found = ([one.volume()] if isSegment else volumesFromNode(one, color) for one in self.inputs)
        return [volume for volumes in found for volume in volumes]


def cardOf(model: str) -> Card | None:
    """None: its file lies on the worker's machine alone."""
    with suppress(LLMBoostError):
        return read_card(library.find(model))
    return None


def takesColor(model: str) -> bool:
    """Whether it is given color images."""
    card = cardOf(model)
    return card is not None and card.preprocessing.color


def _place(roiNode: Any) -> list[float] | None:
    """Where a box is and how large; None: there is none."""
    if roiNode is None:
        return None
    matrix = slicer.util.arrayFromVTKMatrix(roiNode.GetObjectToWorldMatrix())
    return [*matrix.ravel().tolist(), *roiNode.GetSize()]
