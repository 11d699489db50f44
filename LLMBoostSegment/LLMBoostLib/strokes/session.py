"""The conversation with the worker about one image that is painted in: the newest strokes win, and nothing blocks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from llmboost.messages.codec import A, Request
from llmboost.messages.images import Box, Volume
from llmboost.messages.strokes import (
    StrokesAnswer,
    StrokesCloseRequest,
    StrokesKeepRequest,
    StrokesKept,
    StrokesOpenRequest,
    StrokesUpdateRequest,
)
from llmboost.messages.words import Device, ErrorKind
from llmboost.messages.worker import Progress

from ..worker.client import Client
from ..worker.troubles import WorkerError
from .painting import Index


@functools.cache
def sharedClient() -> Client:
    """The worker of all effects of this process; it starts with the first strokes."""
    return Client()


@dataclass(frozen=True, eq=False)
class Question:
    """Strokes, and what they lie on.

    Attributes:
        place: what tells the image from others; another one is sent to the worker anew.
        image: makes the image that is sent.
        model: that knows what is painted and may learn from it, or "".
        modality: DICOM's term, or empty.
        strokes: uint16 [k, j, i], see :class:`llmboost.messages.strokes.StrokesUpdateRequest`.
        start: index of their first voxel in the image.
        roi: what to compute in.
    """

    place: Hashable
    image: Callable[[], Volume]
    model: str
    modality: str
    strokes: Any
    start: Index
    roi: Box | None = None
    device: Device = Device.AUTO


class Session:
    """Answers the question that was asked last: first by the walker, then, where that helps, by a model it has taught.

    Args:
        client: the worker's.
        onAnswer: is given each answer with its question.
        onError: is told why there is none; the strokes are the caller's, who may ask again.
        onProgress: is told what goes on.
    """

    def __init__(
        self,
        client: Client,
        onAnswer: Callable[[StrokesAnswer, Question], None],
        onError: Callable[[Exception], None],
        onProgress: Callable[[Progress], None] = lambda news: None,
    ) -> None:
        self._client = client
        self._onAnswer, self._onError, self._onProgress = onAnswer, onError, onProgress
        self._wanted: Question | None = None  # to be asked as soon as the worker is free
        self._asked: Question | None = None  # that runs
        self._running = False
        self._opened: tuple[Hashable, str] | None = None  # the place and model that the worker holds
        self._session = 0
        self._reopened = False

    @property
    def busy(self) -> bool:
        """Whether an answer is to come."""
        return self._running or self._wanted is not None

    def ask(self, question: Question) -> None:
        """Ask; what was asked before is not waited for any more."""
        self._wanted = question
        if self._running:
            self._client.cancel()
        else:
            self._begin()

    def cancel(self) -> None:
        """Nobody waits for an answer any more; the worker goes on holding the image."""
        self._wanted = None
        if self._running:
            self._client.cancel()

    def keep(self, output: str, onDone: Callable[[StrokesKept], None]) -> None:
        """Write what was learned as an adapter; raises WorkerError if the worker is busy."""
        self._client.start(
            StrokesKeepRequest(session=self._session, output=output), self._onProgress, onDone, self._onError
        )

    def close(self) -> None:
        """Let the worker forget the image."""
        self.cancel()
        if self._opened is not None and self._client.ready:
            self._opened = None
            with suppress(WorkerError):  # it is busy, and forgets the image when the next one is opened
                self._client.start(StrokesCloseRequest(session=self._session))

    def _begin(self) -> None:
        """The question that waits, if one does."""
        self._running = False
        question, self._wanted = self._wanted, None
        if question is None:
            return
        self._asked, self._reopened = question, False
        if self._opened == (question.place, question.model):
            self._update(teach=False)
        else:
            self._open()

    def _open(self) -> None:
        """Send the image, then the strokes; the model that is to learn is loaded once the walker has answered."""
        question = self._asked
        assert question
        try:
            volume = question.image()
        except Exception as error:
            self._fail(error)
            return
        request = StrokesOpenRequest(
            model=question.model, volumes=(volume,), modality=question.modality, device=question.device
        )

        def opened(answer: Any) -> None:
            self._opened, self._session = (question.place, question.model), answer.session
            if self._wanted:
                self._begin()
            else:
                self._update(teach=False)

        self._opened = None
        self._send(request, opened)

    def _update(self, teach: bool) -> None:
        question = self._asked
        assert question
        request = StrokesUpdateRequest(
            session=self._session, strokes=question.strokes, start=question.start, roi=question.roi, teach=teach
        )

        def answered(answer: StrokesAnswer) -> None:
            if self._wanted:
                self._begin()
                return
            if answer.teachable and not teach:
                self._update(teach=True)
            else:
                self._running = False
            self._onAnswer(answer, question)

        self._send(request, answered)

    def _send(self, request: Request[A], onDone: Callable[[A], None]) -> None:
        self._running = True
        try:
            self._client.start(request, self._onProgress, onDone, self._failed)
        except WorkerError as error:  # another computation goes on
            self._fail(error)

    def _failed(self, error: Exception) -> None:
        kind = error.kind if isinstance(error, WorkerError) else None
        if kind not in (ErrorKind.CANCELLED, ErrorKind.BAD_INPUT, ErrorKind.OUT_OF_MEMORY, ErrorKind.BUSY):
            self._opened = None  # nobody knows what the worker still holds
        if self._wanted or kind == ErrorKind.CANCELLED:
            self._begin()
        elif kind == ErrorKind.NOT_AVAILABLE and self._asked and not self._reopened:
            self._reopened = True  # it has opened another image since, or given its memory back
            self._open()
        else:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._running = False
        self._onError(error)
