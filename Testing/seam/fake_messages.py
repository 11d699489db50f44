"""One request for all that the light worker does: what, with any fields and arrays; and the volumes of images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from llmboost.messages.codec import Answer, Request
from llmboost.messages.images import Volume
from llmboost.service import Job

if TYPE_CHECKING:
    from llmboost.io.image import Image


@dataclass(frozen=True, eq=False)
class Faked(Answer):
    """What was done gave this."""

    fields: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Fake(Request[Faked], sent_as="fake"):
    """Do ``what``."""

    what: str
    fields: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def faked(**handlers: Callable[[Job[Fake]], tuple[dict, dict]]) -> dict[type[Fake], Callable[[Job[Fake]], Faked]]:
    """The worker's handlers of these, by what is done."""
    return {Fake: lambda job: Faked(*handlers[job.request.what](job))}


def volumes_of(*images: Image) -> tuple[Volume, ...]:
    """Images as a request holds them."""
    return tuple(
        Volume(np.ascontiguousarray(one.array.transpose()), one.spacing, one.origin, one.direction) for one in images
    )
