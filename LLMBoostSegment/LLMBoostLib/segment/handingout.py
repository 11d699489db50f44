"""What LLMBoost Segment makes of a result outside the scene: a report, or DICOM objects in Slicer's database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, Unpack

from slicer.i18n import tr as _

from llmboost.errors import LLMBoostError
from llmboost.files import write_whole
from llmboost.messages.codec import A, Request
from llmboost.messages.dicom import DicomAnswer
from llmboost.messages.report import ReportAnswer
from llmboost.messages.words import ReportForm

from ..scene.classification import Classification
from ..scene.dicomdatabase import canBeStored, dicomRequest, store
from ..scene.report import canBeReported, reportRequest
from ..scene.result import Result
from ..worker.calls import Listeners, Start, run, separate
from ..worker.client import Client
from .request import RunRequest, takesColor

T = TypeVar("T")


class ResultsHandedOut:
    """A part of LLMBoostSegmentLogic, which sets these attributes."""

    client: Client
    result: Result | Classification | None
    asked: RunRequest | None

    def _starting(self, request: Request[A], finish: Callable[[A], T], listeners: Listeners) -> Start[T]:
        """What sends a request, and gives what ``finish`` makes of its answer."""
        onProgress = listeners.get("onProgress")
        return lambda onDone, onError: self.client.start(
            request, onProgress, lambda answer: onDone(finish(answer)), onError
        )

    def report(self, path: str | Path, *, edited: bool = False, **options: Unpack[Listeners]) -> Any:
        """Write a report of the last run's segments, as they and their table are now: pictures, volumes, what they say
        together, expected quality, the model's card and the limits.

        Args:
            path: of the file, which is replaced; .pdf, or else a web page that needs nothing else.
            edited: the segments were changed since they were drawn; then the report rates them no more.
            waitForCompletion: False returns None at once; then ``onDone`` or ``onError`` is called.

        Returns:
            the path.

        Raises:
            LLMBoostError: there are no segments of one image, or the file cannot be written.
            WorkerError: the worker refuses, or is lost. Without waiting, ``onError`` gets what comes after the start.
        """
        path, asked, result = Path(path), self.asked, self.result
        if asked is None or not isinstance(result, Result) or not canBeReported(result):
            raise LLMBoostError(_("no segments of one image that could be reported: segment an image first"))
        form = ReportForm.PDF if path.suffix.lower() == ".pdf" else ReportForm.HTML
        request = reportRequest(result, asked.model, form, color=takesColor(asked.model), edited=edited)

        def finish(answer: ReportAnswer) -> Path:
            write_whole(path, answer.file.tobytes())
            return path

        _none, listeners = separate(Listeners, options)
        return run(self.client, self._starting(request, finish, listeners), listeners)

    def storeInDicom(self, *, edited: bool = False, **options: Unpack[Listeners]) -> Any:
        """Store the last run's segments, as they and their table are now, in Slicer's DICOM database, which their image
        came from: as segmentation (SEG) and structured report (SR) of the same study, in new series.

        Args:
            edited: the segments were changed since they were drawn.
            waitForCompletion: False returns None at once; then ``onDone`` or ``onError`` is called.

        Returns:
            the SOPInstanceUIDs of both.

        Raises:
            LLMBoostError: there are no segments of one image from the database, nothing was found, or the worker runs
                on another machine.
            WorkerError: the worker refuses, or is lost. Without waiting, ``onError`` gets what comes after the start.
        """
        asked, result = self.asked, self.result
        if asked is None or not isinstance(result, Result) or not canBeStored(result):
            raise LLMBoostError(_("no segments of one image of Slicer's DICOM database: segment such an image first"))
        if self.client.remoteHost:
            text = _("The worker on {host} does not see Slicer's DICOM database; to store, let it run on this computer")
            raise LLMBoostError(text.format(host=self.client.remoteHost))

        def finish(answer: DicomAnswer) -> tuple[str, ...]:
            store(answer)
            return answer.uids

        _none, listeners = separate(Listeners, options)
        request = dicomRequest(result, asked.model, edited=edited)
        return run(self.client, self._starting(request, finish, listeners), listeners)
