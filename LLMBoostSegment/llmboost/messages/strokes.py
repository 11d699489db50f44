"""What is asked and answered about strokes that a user paints in a volume.

The course of it::

    StrokesOpenRequest    the image, once; a model that may know what is painted      -> StrokesOpened.session
    StrokesUpdateRequest  all strokes that there are now, after each stroke           -> StrokesAnswer by the walker
    ... with teach        the same strokes, where that answer said ``teachable``      -> StrokesAnswer by the model
    StrokesKeepRequest    write an adapter of what the strokes have taught            -> StrokesKept
    StrokesCloseRequest   forget the image                                            -> Done

A request has one answer, so the taught one, which takes seconds, is asked for by a second update. A new stroke cancels
whatever update runs (``cancel`` with its id, heeded within 0.3 s, nothing is lost by it) and starts with the walker
again. A worker holds one session: opening another image, ``release`` and adapting forget it. A session that it does
not hold is refused as ``not_available``: open the image again, and update with the strokes, which are the client's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..card import Card
from .codec import Answer, Name, Request
from .images import Box, Volume
from .words import RequestKind, StrokesMethod
from .worker import ComputeRequest, Done

BACKGROUND = 65535  # of strokes: painted as none of the labels, whose values are smaller


@dataclass(frozen=True)
class StrokesOpened(Answer):
    """The image is kept: ``session`` names it in what follows."""

    session: int


@dataclass(frozen=True, kw_only=True, eq=False)
class StrokesOpenRequest(ComputeRequest[StrokesOpened], sent_as=RequestKind.STROKES_OPEN):
    """Keep an image to paint in; of a series, each frame is an image of its own.

    Attributes:
        model: a segmenter that may know what is painted: a name, a path, a digest, or "" for none.
        volumes: one a channel; strokes lie on the first one's grid. With a model, those that it takes.
        modality: DICOM's term, or empty.
    """

    model: str = ""
    volumes: tuple[Volume, ...]
    modality: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class StrokesAnswer(Answer):
    """The whole, of a box of the image's grid; outside of it nothing is known.

    Attributes:
        labels: uint8 or uint16 [k, j, i] of the box: values of labels, 0 background. What was painted is as it was
            painted. The walker draws the labels that were painted, a model all of its own.
        sure: uint8 [k, j, i] of the box: 255 sure, 0 undecided between two labels.
        start: index (i, j, k) of the box's first voxel in the first volume.
        method: what answered, and ``model`` its name, empty for the walker.
        strokes: how many there were.
        unsure: LPS positions in mm of places where a stroke would help most, the least sure one first.
        teachable: the same request with ``teach`` may answer better: the session's model knows all painted labels.
        share: of what was learned that is used, 0 to 1; what strokes left out of the learning chose.
        seconds: that it took.
    """

    labels: np.ndarray
    sure: np.ndarray
    start: tuple[int, int, int]
    method: StrokesMethod
    strokes: int
    seconds: float
    model: str = ""
    unsure: tuple[tuple[float, float, float], ...] = ()
    teachable: bool = False
    share: float = 0.0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class StrokesUpdateRequest(Request[StrokesAnswer], sent_as=RequestKind.STROKES_UPDATE):
    """Draw the whole from strokes; progress comes as of other requests.

    Attributes:
        session: from :class:`StrokesOpened`.
        strokes: uint16 [k, j, i]: 0 nothing painted, BACKGROUND, or the values of labels. With a model, the values are
            those of its card's labels; segments that it lacks have other ones. All strokes, not the last.
        start: index (i, j, k) of their first voxel in the first volume: beyond ``strokes`` nothing is painted.
        roi: the box to compute in; None: around the strokes.
        teach: let the session's model learn from the strokes first, where that helps.
    """

    session: int
    strokes: np.ndarray
    start: tuple[int, int, int] = (0, 0, 0)
    roi: Box | None = None
    teach: bool = False


@dataclass(frozen=True)
class StrokesKept(Answer):
    """An adapter was written to ``output``: a model like others, which needs its base at hand."""

    output: str
    card: Card
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StrokesKeepRequest(Request[StrokesKept], sent_as=RequestKind.STROKES_KEEP):
    """Write what the last update with ``teach`` has learned as an adapter.

    Attributes:
        session: from :class:`StrokesOpened`.
        output: the file to write, on the worker's machine, which must not be there yet (``.safetensors``).
    """

    session: int
    output: Name


@dataclass(frozen=True, kw_only=True)
class StrokesCloseRequest(Request[Done], sent_as=RequestKind.STROKES_CLOSE):
    """Forget the image; a session that is not held is closed already."""

    session: int
