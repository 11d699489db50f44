"""Strokes for scripts: segments of a segmentation in, another segmentation out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from llmboost import library
from llmboost.card import Card
from llmboost.errors import LLMBoostError
from llmboost.messages.images import Box, DrawnLabel, Volume
from llmboost.messages.strokes import StrokesAnswer, StrokesKept
from llmboost.messages.words import Device, StrokesMethod
from llmboost.messages.worker import Progress

from ..scene.fit import modalityInScene
from ..scene.segmentation import writeSegmentation
from ..scene.volumes import frameWarnings, roiFromNode, volumesFromNode
from ..training.candidate import checkName
from ..training.cases import Kind
from ..training.snapshot import masksOf
from ..worker.calls import Listeners
from ..worker.client import Client
from .knowledge import AUTOMATIC, WALKER, isBackground, whoKnow
from .painting import Painting
from .session import Question, Session


class StrokesOptions(Listeners, total=False):
    """What a script may add by name to ``strokes``; the method tells what each does."""

    learn: bool
    keep: str


@dataclass(frozen=True)
class StrokesResult:
    """What strokes have led to.

    Attributes:
        segmentationNode: the whole, with the names and colors of the segments that were painted.
        method: "walker", "model" (as it is) or "taught".
        model: the name of the model that answered; empty for the walker.
        strokes: how many there were.
        unsure: places (RAS, mm) where a stroke would help most.
        kept: the card of the model that was kept, if that was asked for.
        warnings: what a user should know.
        seconds: that the engine took.
    """

    segmentationNode: Any
    method: StrokesMethod
    model: str
    strokes: int
    unsure: tuple[tuple[float, float, float], ...]
    kept: Card | None
    warnings: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, eq=False)
class StrokesRun:
    """A run that is asked for.

    Args:
        volumeNode: the image.
        segmentationNode: its segments are the strokes, one named background is what belongs to none.
        model: of the library, "automatic" or "walker".
        learn: whether the model may learn from the strokes.
        keep: the name of the model to keep of that; empty: none.

    Raises:
        LLMBoostError: nothing is painted, or an input cannot be used.
    """

    volumeNode: Any
    segmentationNode: Any
    model: str = "automatic"
    roiNode: Any = None
    device: Device = Device.AUTO
    learn: bool = True
    keep: str = ""
    _painting: Painting = field(init=False)
    _card: Card | None = field(init=False)

    def __post_init__(self) -> None:
        masks = masksOf(self.segmentationNode, self.volumeNode)
        array = np.zeros(self.volumeNode.GetImageData().GetDimensions()[::-1], np.uint16)
        for number, (_kind, mask) in enumerate(masks, start=1):
            array[mask.transpose()] = number
        if not array.any():
            text = _("{name}: nothing is painted; paint a stroke in each segment")
            raise LLMBoostError(text.format(name=self.segmentationNode.GetName()))
        kinds: tuple[Kind, ...] = tuple(kind for kind, _mask in masks)
        object.__setattr__(self, "_painting", Painting(kinds, array, (0, 0, 0)))
        chosen = {"automatic": AUTOMATIC, "walker": WALKER}.get(self.model, self.model)
        cards = whoKnow(self._painting.painted) if self.learn and chosen != WALKER else []
        if self.learn and chosen not in (AUTOMATIC, WALKER):
            cards = [card for card in cards if card.name == chosen]
            if not cards:
                library.find(chosen)
                raise LLMBoostError(_("{model}: does not know all that is painted").format(model=chosen))
        object.__setattr__(self, "_card", next(iter(cards), None))
        if self.keep:
            checkName(self.keep)
            if self._card is None:
                text = _("No model knows all that is painted: there is nothing to keep; add it as a case instead")
                raise LLMBoostError(text)

    def start(
        self,
        client: Client,
        onDone: Callable[[StrokesResult], None],
        onError: Callable[[Exception], None] | None,
        onProgress: Callable[[Progress], None] | None = None,
    ) -> None:
        """Ask the worker; one of the two will be called, once."""
        fail = onError or (lambda error: None)

        def answered(answer: StrokesAnswer, _question: Question) -> None:
            if session.busy:  # that of the walker, and a model learns
                return
            if not self.keep:
                onDone(self._write(answer, None))
            elif answer.method == StrokesMethod.TAUGHT:
                self._keep(session, lambda kept: onDone(self._write(answer, kept)))
            else:
                fail(
                    LLMBoostError(
                        _("{model} agrees with the strokes: there is nothing to keep").format(model=self._name)
                    )
                )

        session = Session(client, answered, fail, onProgress or (lambda news: None))
        session.ask(self._question())

    @property
    def _name(self) -> str:
        return self._card.name if self._card else ""

    def _question(self) -> Question:
        node, roiNode = self.volumeNode, self.roiNode
        roi: Box | None = roiFromNode(roiNode, node) if roiNode else None

        def image() -> Volume:
            return volumesFromNode(node)[0]

        return Question(
            place=None,
            image=image,
            model=self._name,
            modality=modalityInScene(node),
            strokes=self._painting.strokes(self._card),
            start=self._painting.start,
            roi=roi,
            device=self.device,
        )

    def _keep(self, session: Session, onKept: Callable[[StrokesKept], None]) -> None:
        path = library.user_folder() / (self.keep + library.EXTENSION)
        path.parent.mkdir(parents=True, exist_ok=True)
        session.keep(str(path), onKept)

    def _write(self, answer: StrokesAnswer, kept: StrokesKept | None) -> StrokesResult:
        array, start = self._painting.completed(answer, self._card)
        whole = np.zeros(self.volumeNode.GetImageData().GetDimensions()[::-1], array.dtype)
        place = tuple(slice(a, a + size) for a, size in zip(start[::-1], array.shape, strict=True))
        whole[place] = array
        segmentation = self.segmentationNode.GetSegmentation()
        labels = []
        for number, kind in enumerate(self._painting.kinds, start=1):
            r, g, b = (round(255 * part) for part in segmentation.GetNthSegment(number - 1).GetColor())
            if not isBackground(kind):
                labels.append(DrawnLabel(number, kind.name, (r, g, b), kind.terminology))
        name = _("{name} by strokes").format(name=self.segmentationNode.GetName())
        undo = writeSegmentation(whole, labels, self.volumeNode, name=name)
        return StrokesResult(
            segmentationNode=undo.segmentationNode,
            method=answer.method,
            model=answer.model,
            strokes=answer.strokes,
            unsure=tuple((-x, -y, z) for x, y, z in answer.unsure),  # LPS
            kept=kept.card if kept else None,
            warnings=(*frameWarnings(self.volumeNode), *answer.warnings, *(kept.warnings if kept else ())),
            seconds=answer.seconds,
        )
