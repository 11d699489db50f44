"""What is raised on purpose: problems that a user can mend, and the user's own cancelling."""

from __future__ import annotations

from typing import Any


class LLMBoostError(Exception):
    """What is wrong, with which file, and what to do about it, in one line.

    The command line prints the message and exits with 1; the worker sends it to Slicer as data.
    Anything else that is raised is a defect of the program and keeps its traceback.
    """


class NotExplained(LLMBoostError):
    """There is a result, ``result``, but no map of where the model looked."""

    def __init__(self, message: str, result: Any) -> None:
        super().__init__(message)
        self.result = result


class Cancelled(Exception):
    """The user asked to stop."""
