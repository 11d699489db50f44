"""The words that Slicer and the worker share, and the rules that both must keep."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from ..errors import LLMBoostError

HELD_OUT = 4  # without cases to check with, every which subject is kept aside; fewer than that are all learned from
LEAST_FOLDS, FOLDS = 3, 5  # of a check on every case: at least, and at most unless more are asked for


class RequestKind(StrEnum):
    """What can be asked; ``cancel`` and ``finish`` carry the id of the request meant, and get no answer."""

    HELLO = "hello"
    WARM_UP = "warm_up"
    RELEASE = "release"
    MODELS = "models"
    PUT_MODEL = "put_model"
    LOOK = "look"
    IMPORT_MODEL = "import_model"
    SHOW = "show"
    SEGMENT = "segment"
    CLASSIFY = "classify"
    EXPLAIN = "explain"
    REPORT = "report"
    DICOM = "dicom"
    ADAPT = "adapt"
    CROSS_CHECK = "cross_check"
    RANK_CASES = "rank_cases"
    STROKES_OPEN = "strokes.open"
    STROKES_UPDATE = "strokes.update"
    STROKES_KEEP = "strokes.keep"
    STROKES_CLOSE = "strokes.close"
    CANCEL = "cancel"
    FINISH = "finish"
    SHUT_DOWN = "shut_down"


class ErrorKind(StrEnum):
    """Why a request failed; the last five are told by the client alone."""

    BAD_INPUT = "bad_input"
    CANCELLED = "cancelled"
    OUT_OF_MEMORY = "out_of_memory"
    NOT_AVAILABLE = "not_available"
    UNKNOWN_MODEL = "unknown_model"
    INTERNAL = "internal"
    BUSY = "busy"
    NOT_STARTED = "not_started"
    VERSION = "version"
    CRASHED = "crashed"
    PROTOCOL = "protocol"


class ReportForm(StrEnum):
    """How a report is written."""

    HTML = "html"
    PDF = "pdf"


class Device(StrEnum):
    """What computes: ``auto`` is a CUDA GPU where there is one."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Method(StrEnum):
    """How a map of where a network looked is made; the first one is the default."""

    GRAD_CAM = "grad-cam"
    ROLLOUT = "attention-rollout"
    POOLED = "grad-cam-pooled"


class Layer(StrEnum):
    """Where: after or before the booster, the frozen block of the language model; the first one is the default."""

    AFTER = "after"
    BEFORE = "before"


class AdaptTask(StrEnum):
    """What an adaptation is for: the base's labels, or others."""

    IMPROVE = "improve"
    NEW_LABELS = "new-labels"


class StrokesMethod(StrEnum):
    """What answered strokes: the random walker, a model as it is, or one that the strokes have taught."""

    WALKER = "walker"
    MODEL = "model"
    TAUGHT = "taught"


class StopReason(StrEnum):
    """Why a training ended: its budget was used up, it was told to finish, or it got no better."""

    BUDGET = "budget"
    FINISH = "finish"
    EARLY = "early"


W = TypeVar("W", bound=StrEnum)


def chosen(kind: type[W], text: str, what: str) -> W:
    """The word that a script or a user gave; ``what`` it is for. Raises LLMBoostError if it is none of these."""
    if text not in list(kind):
        raise LLMBoostError(f"{what} '{text}': use one of {', '.join(kind)}")
    return kind(text)
