"""What is said about the worker itself, about requests that go on or fail, and about models."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..card import Card
from ..wire import ERROR, PROGRESS
from .codec import A, Answer, Name, Request, Sent
from .words import Device, ErrorKind, RequestKind

IDLE_SECONDS = 600.0


@dataclass(frozen=True)
class Done(Answer):
    """There is nothing to tell."""


@dataclass(frozen=True)
class Hello(Answer):
    """How the worker introduces itself; a version is None where the package is not installed."""

    protocol: int = 0
    pid: int = 0
    host: str = ""
    llmboost: str = ""
    python: str = ""
    torch: str | None = None
    monai: str | None = None


@dataclass(frozen=True)
class HelloRequest(Request[Hello], sent_as=RequestKind.HELLO):
    """``idle_seconds``: after how long without requests the worker gives its memory back."""

    idle_seconds: float = IDLE_SECONDS


@dataclass(frozen=True)
class ReleaseRequest(Request[Done], sent_as=RequestKind.RELEASE):
    """Drop the loaded model, and give its memory back."""


@dataclass(frozen=True)
class PlanEvent:
    """What a training decided before it began, in sentences, and the ids of the cases held out."""

    reasons: tuple[str, ...]
    held_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class StepEvent:
    """An optimizer's step; ``fraction`` is that of the budget."""

    step: int
    loss: float
    fraction: float | None = None


@dataclass(frozen=True)
class ValidationEvent:
    """What a validation found: the value of a measure such as "dice", the best one so far (None where the last weights
    are kept, not the best ones), and the value of each label by its name, None where nothing could be measured."""

    step: int
    measure: str
    value: float
    best: float | None
    labels: dict[str, float | None] = field(default_factory=dict)


TrainingEvent = PlanEvent | StepEvent | ValidationEvent


@dataclass(frozen=True)
class Progress(Sent):
    """News of a request.

    Attributes:
        fraction: that is done; None: unknown.
        text: what goes on.
        memory: the bytes that it will take, if known.
        event: of a training.
        loading: true where something begins that cannot be interrupted, false where it ends; else None.
    """

    sent_as = PROGRESS

    fraction: float | None = None
    text: str = ""
    memory: int | None = None
    event: TrainingEvent | None = None
    loading: bool | None = None


@dataclass(frozen=True)
class Failure(Sent):
    """Why a request cannot be answered, and what to do about it."""

    sent_as = ERROR

    kind: ErrorKind = ErrorKind.INTERNAL
    message: str = ""
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelRequest(Request[A]):
    """About a model: a name in the library, a path, or the digest of its weights ("sha256:...")."""

    model: Name


@dataclass(frozen=True, kw_only=True)
class ComputeRequest(ModelRequest[A]):
    """To compute with a model."""

    device: Device = Device.AUTO


@dataclass(frozen=True, kw_only=True)
class WarmUpRequest(ComputeRequest[Done], sent_as=RequestKind.WARM_UP):
    """Load the model and compute once, so that the next result comes sooner."""


@dataclass(frozen=True)
class Models(Answer):
    """The installed models' cards by name, and warnings about damaged files."""

    models: dict[str, Card]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class ModelsRequest(Request[Models], sent_as=RequestKind.MODELS):
    """List the installed models."""


@dataclass(frozen=True)
class Shown(Answer):
    """A model's card, and the size of its file in bytes."""

    card: Card
    size: int


@dataclass(frozen=True, kw_only=True)
class ShowRequest(ModelRequest[Shown], sent_as=RequestKind.SHOW):
    """Tell of one model."""


@dataclass(frozen=True, eq=False)
class PutModelRequest(Request[Done], sent_as=RequestKind.PUT_MODEL):
    """Keep a model file that Slicer's machine has: its digest ("sha256:...") and its bytes (uint8)."""

    digest: Name
    file: np.ndarray
