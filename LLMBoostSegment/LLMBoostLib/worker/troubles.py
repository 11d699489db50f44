"""What can go wrong with a worker, in the user's words: what is wrong, and what to do about it."""

from __future__ import annotations

from typing import Any

from llmboost import __version__
from llmboost.messages.words import ErrorKind, RequestKind
from llmboost.messages.worker import Hello
from llmboost.wire import PROTOCOL

from ..translation import tr as _
from .launcher import COMMAND_SETTING

MAX_TEXT = 2000


class WorkerError(Exception):
    """Why a request failed.

    Attributes:
        kind: the worker's, or what went wrong with it or on the way.
        message: what is wrong, in a line for the user.
        hint: what to do about it; may be empty.
        details: the last lines of what the worker printed; may be empty.
    """

    def __init__(self, kind: ErrorKind, message: str, hint: str = "", details: str = "") -> None:
        super().__init__(f"{message}. {hint}" if hint else message)
        self.kind, self.message, self.hint, self.details = kind, message, hint, details


def plain(text: Any) -> str:
    """What a worker, which may be another machine's, wants to be shown: in one line, nothing invisible, not endless."""
    # of other values, the text may be endless
    shown = str(text)[:MAX_TEXT] if isinstance(text, str | int | float | Exception | None) else "?"
    return " ".join("".join(c if c.isprintable() else " " for c in shown).split())


def busy(running: str) -> WorkerError:
    """A request of this kind runs."""
    names: dict[str, str] = {
        RequestKind.ADAPT: _("a training runs"),
        RequestKind.CLASSIFY: _("a classification runs"),
        RequestKind.EXPLAIN: _("an explanation runs"),
        RequestKind.RANK_CASES: _("a ranking of cases runs"),
        RequestKind.SEGMENT: _("a segmentation runs"),
        RequestKind.STROKES_UPDATE: _("a segmentation by strokes runs"),
    }
    what = names.get(running, _("another computation runs"))
    return WorkerError(ErrorKind.BUSY, what, _("Wait for it, or cancel it"))


def notStarted(text: str, details: str = "") -> WorkerError:
    hint = _("Check the worker's command under Advanced (application setting {setting})")
    return WorkerError(ErrorKind.NOT_STARTED, text, hint.format(setting=COMMAND_SETTING), details)


def couldNotStart(reason: str, details: str = "") -> WorkerError:
    return notStarted(_("the worker could not be started ({reason})").format(reason=reason), details)


def startedTooLate(seconds: float, details: str) -> WorkerError:
    return notStarted(_("the worker did not start within {seconds:.0f} s").format(seconds=seconds), details)


def stalled(seconds: float, details: str) -> WorkerError:
    text = _("the worker stopped in the middle of an answer: nothing came for {seconds:.0f} s").format(seconds=seconds)
    hint = _("Look whether its machine and the connection to it are well, then try again")
    return WorkerError(ErrorKind.CRASHED, text, hint, details)


def rubbish(error: Exception, details: str) -> WorkerError:
    text = _("the worker sent rubbish ({error})").format(error=plain(error))
    hint = _("This is a defect of LLMBoost, or of what the worker's command runs; please report it")
    return WorkerError(ErrorKind.PROTOCOL, text, hint, details)


def ofAnotherVersion(hello: Hello) -> WorkerError:
    text = _(
        "the worker on {host} is LLMBoost {version} (protocol {protocol}), this Slicer has LLMBoost {ownVersion}"
        " (protocol {ownProtocol})"
    ).format(
        host=plain(hello.host),
        version=plain(hello.llmboost),
        protocol=hello.protocol,
        ownVersion=__version__,
        ownProtocol=PROTOCOL,
    )
    isOld = hello.protocol < PROTOCOL
    hint = _("Update LLMBoost for the worker") if isOld else _("Update the extension in Slicer")
    return WorkerError(ErrorKind.VERSION, text, hint)


def ended(status: int, details: str, hasBegun: bool) -> WorkerError:
    """Its process is gone.

    Args:
        status: negative: the number of a signal.
        hasBegun: it had said hello.
    """
    how = f"signal {-status}" if status < 0 else f"exit status {status}"
    last = f"{how}: {details.splitlines()[-1]}" if details else how
    if not hasBegun:
        return couldNotStart(last, details)
    hint = _("It may have needed more memory than there is; limit it to a region of interest, or try again")
    return WorkerError(
        ErrorKind.CRASHED, _("the worker ended unexpectedly ({reason})").format(reason=last), hint, details
    )


def cancelled() -> WorkerError:
    return WorkerError(ErrorKind.CANCELLED, _("cancelled"))


def silence(seconds: int, hasBegun: bool) -> str:
    """What is told while nothing comes."""
    text = _("no news from the worker for {seconds} s") if hasBegun else _("the worker starts ({seconds} s)")
    return text.format(seconds=seconds)
