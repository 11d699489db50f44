"""What a model was asked about, so that its answer can be explained later."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from slicer.i18n import tr as _

from llmboost.errors import LLMBoostError

from ..scene.volumes import roiFromNode


@dataclass(frozen=True)
class Question:
    """A request for a segmentation or a classification.

    Attributes:
        inputs: the volume nodes or the segment.
        arguments: the logic's: model, roiNode, device, and for a 2D model slice.
        box: where the ROI was then.
    """

    inputs: list[Any]
    arguments: dict[str, Any]
    box: dict[str, list[float]] | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "box", self._box())

    @property
    def nodes(self) -> list[Any]:
        """Of the inputs."""
        return [getattr(each, "segmentationNode", each) for each in self.inputs]

    def check(self) -> None:
        """Raises LLMBoostError where asking again would be about something else."""
        if self._box() != self.box:
            raise LLMBoostError(_("The ROI was moved since the result was made: make it again before it is explained"))

    def _box(self) -> dict[str, list[float]] | None:
        roiNode = self.arguments["roiNode"]
        return roiFromNode(roiNode, self.nodes[0]) if roiNode else None
