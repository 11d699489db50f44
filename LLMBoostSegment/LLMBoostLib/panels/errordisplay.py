"""Errors as the user meets them: a line that says what to do, and details for those who want them."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import slicer
from slicer.i18n import tr as _

from llmboost.errors import LLMBoostError

from ..worker.troubles import WorkerError
from .plaintext import boxOptions

WARNING_STYLE = "QLabel { background: rgba(230, 159, 0, 45); border-left: 3px solid #e69f00; padding: 5px; }"
PROBLEM_STYLE = "QLabel { background: rgba(213, 94, 0, 45); border-left: 3px solid #d55e00; padding: 5px; }"
NOTICE_STYLE = "QLabel { color: gray; padding: 2px; }"


def sentence(error: Exception) -> str:
    """What is wrong and what to do about it."""
    if isinstance(error, WorkerError):
        text = "\n\n".join(filter(None, (error.message, error.hint)))
    elif isinstance(error, LLMBoostError):
        text = str(error)
    else:
        text = _("Unexpected error: {error}. Please report it, with the details").format(error=error)
    mayBeginWithAName = ":" in text and not text.startswith("the ")  # of a node or a file
    return text if mayBeginWithAName else capitalized(text)


def capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def showError(error: Exception) -> None:
    """A message box. Traceback and the worker's last words are folded away."""
    details = error.details if isinstance(error, WorkerError) else ""
    if not isinstance(error, WorkerError | LLMBoostError):
        details = "".join(traceback.format_exception(error))
    options = {"detailedText": details} if details else {}
    slicer.util.errorDisplay(sentence(error), **boxOptions(), **options)


@contextmanager
def errorsShown() -> Iterator[None]:
    """Whatever goes wrong in this block becomes a message box, and ends there."""
    try:
        yield
    except Exception as error:
        showError(error)
