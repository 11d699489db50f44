"""What a script may add by name to a call of LLMBoost Segment's logic; the methods tell what each does."""

from __future__ import annotations

from typing import TypedDict

from llmboost.messages.images import ExplainOptions

from ..worker.calls import Listeners


class SegmentOptions(Listeners, total=False):
    """Of ``process``."""

    mirror: bool
    fast: bool
    uncertainty: bool
    probabilities: bool
    closedSurface: bool
    explain: ExplainOptions | None


class ClassifyOptions(Listeners, total=False):
    """Of ``classify``."""

    slice: int | None
    anyway: bool
    explain: ExplainOptions | None


class MapOptions(Listeners, total=False):
    """Of ``explain``."""

    target: int | None
    method: str
    layer: str
    slice: int | None
    anyway: bool


class StudyOptions(Listeners, total=False):
    """Of ``processStudies``; what the model's task does not know is refused."""

    mirror: bool
    fast: bool
    anyway: bool


class FolderOptions(TypedDict, total=False):
    """Of ``processFolder``."""

    resume: bool
    mirror: bool
    fast: bool
    uncertainty: bool
    explanation: bool
