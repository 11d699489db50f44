"""An image segmented by a base (outlines) and by what was made of it (filled)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from llmboost.messages.images import SegmentAnswer, SegmentRequest
from llmboost.messages.words import Device
from llmboost.messages.worker import Progress

from ..scene.display import showVolume
from ..scene.fit import modalityInScene
from ..scene.nodes import derivedNode, inSameStudy
from ..scene.segmentation import writeSegmentation
from ..scene.volumes import volumesFromNode
from ..worker.client import Client

BEFORE, AFTER = "before", "after"
FILLED = 0.45  # opacity of the later one


class Comparison:
    """Computes one after the other with one client; a second time, it puts new segments into the same nodes."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def start(
        self,
        volumeNode: Any,
        base: str,
        adapted: str,
        device: Device,
        onProgress: Callable[[Progress], None],
        onDone: Callable[[Any, Any], None],
        onError: Callable[[Exception], None],
    ) -> None:
        """Segment twice, then make two segmentation nodes, which ``onDone`` is given.

        Args:
            base, adapted: models, by name or path.

        Raises:
            LLMBoostError: the volume cannot be segmented.
        """
        answers: list[SegmentAnswer] = []

        def request(model: str, receive: Callable[[SegmentAnswer], None]) -> None:
            segmentVolume(self._client, volumeNode, model, device, onProgress, receive, onError)

        def second(answer: SegmentAnswer) -> None:
            answers.append(answer)
            try:
                request(adapted, done)
            except Exception as error:
                onError(error)

        def done(answer: SegmentAnswer) -> None:
            answers.append(answer)
            try:
                nodes = [_show(one, volumeNode, role) for one, role in zip(answers, (BEFORE, AFTER), strict=True)]
                showVolume(volumeNode)
            except Exception as error:
                onError(error)
            else:
                onDone(*nodes)

        request(base, second)


def segmentVolume(
    client: Client,
    volumeNode: Any,
    model: str,
    device: Device,
    onProgress: Callable[[Progress], None],
    onDone: Callable[[SegmentAnswer], None],
    onError: Callable[[Exception], None],
) -> None:
    """Ask for a model's segments of a volume; raises LLMBoostError where there is nothing to segment."""
    request = SegmentRequest(
        model=model,
        volumes=tuple(volumesFromNode(volumeNode)),
        device=device,
        modality=modalityInScene(volumeNode),
    )
    client.start(request, onProgress, onDone, onError)


def _show(answer: SegmentAnswer, volumeNode: Any, role: str) -> Any:
    """The segmentation node of an answer, in place of an earlier one of this role."""
    title = _("{name} before training") if role == BEFORE else _("{name} after training")
    name = title.format(name=volumeNode.GetName())
    node, isNew = derivedNode("vtkMRMLSegmentationNode", volumeNode, f"comparison {role}", name)
    if not isNew:
        node.GetSegmentation().RemoveAllSegments()
    writeSegmentation(answer.labelmap, answer.labels, volumeNode, node, provenance=answer.provenance)
    inSameStudy(node, volumeNode)
    display = node.GetDisplayNode()
    display.SetVisibility2DFill(role == AFTER)
    display.SetVisibility2DOutline(True)
    display.SetOpacity2DFill(FILLED)
    display.SetOpacity2DOutline(1.0)
    display.SetSliceIntersectionThickness(2 if role == BEFORE else 1)
    return node
