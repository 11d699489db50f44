"""How a panel begins a run, and how it ends: in the progress line, in an error box, in the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from slicer.i18n import tr as _

from llmboost.messages.words import ErrorKind

from ..worker.troubles import WorkerError
from .errordisplay import PROBLEM_STYLE, capitalized, sentence, showError
from .progressview import ProgressView
from .run import Run, Work


class Runner:
    """Begins and ends runs.

    Args:
        log: is given what each of them came to.
    """

    def __init__(self, run: Run, progress: ProgressView, log: Callable[[str], None] = lambda text: None) -> None:
        self._run, self._progress, self._log = run, progress, log

    def begin(self, work: Work, text: str, start: Callable[[], None], expected: float | None = None) -> None:
        """``start`` begins what calls :meth:`ended` or :meth:`failed` later; what it raises is a failure, too. It is
        expected to take so many seconds."""
        self._run.begin(work)
        self._progress.start(text, expected)
        with self.failing():
            start()

    @contextmanager
    def failing(self) -> Iterator[None]:
        """What goes wrong in this block ends the run."""
        try:
            yield
        except Exception as error:
            self.failed(error)

    def stop(self, reason: str) -> None:
        if self._run.active:
            self._progress.say(_("cancelling"))
            self._run.stop(reason)

    def failed(self, error: Exception) -> None:
        """The run came to nothing: it was cancelled, or the user is told why."""
        if isinstance(error, WorkerError) and error.kind == ErrorKind.CANCELLED:
            self.ended(capitalized(self._run.reason or _("cancelled")))
            return
        self.ended(sentence(error).split("\n")[0], error)
        showError(error)

    def ended(self, text: str, error: Exception | None = None) -> None:
        """The run is over; the text stays in the progress line."""
        self._progress.stop(text, PROBLEM_STYLE if error else "")
        self._log(text)
        self._run.end(error)
