"""The requests about strokes in a volume; what they are for tells :mod:`llmboost.messages.strokes`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..card import read_card
from ..errors import LLMBoostError
from ..messages.strokes import (
    StrokesAnswer,
    StrokesCloseRequest,
    StrokesKeepRequest,
    StrokesKept,
    StrokesOpened,
    StrokesOpenRequest,
    StrokesUpdateRequest,
)
from ..messages.words import Device, ErrorKind
from ..messages.worker import Done
from ..service import Job, RequestError
from .volumes import box_of, images_of

if TYPE_CHECKING:
    from ..io.image import Image
    from ..strokes.volume import StrokedVolume
    from . import Engine


@dataclass(frozen=True)
class StrokesSession:
    """A volume that a user paints in.

    Attributes:
        number: names it in requests.
        model: the file of the model that may know what is painted; it is loaded when it is to learn, not before.
    """

    number: int
    volume: StrokedVolume
    model: Path | None
    device: Device


def open_volume(engine: Engine, job: Job[StrokesOpenRequest]) -> StrokesOpened:
    """Keep an image to paint in, in place of the former one."""
    request = job.request
    channels = images_of(request.volumes, request.modality)
    model = engine.path(request.model) if request.model else None
    from ..inference.device import choose_device
    from ..strokes.volume import StrokedVolume

    volume = StrokedVolume(channels, read_card(model) if model else None, choose_device(request.device))
    engine.stroked = StrokesSession(job.id, volume, model, request.device)
    return StrokesOpened(job.id)


def update(engine: Engine, job: Job[StrokesUpdateRequest]) -> StrokesAnswer:
    """Draw the whole from strokes."""
    request, session = job.request, _session(engine, job.request.session)
    from ..inference.watch import Watch

    volume = session.volume
    model = engine.load(session.model, session.device, job) if request.teach and session.model else None
    doing = f"'{model.card.name}' learns from the strokes" if model else "spreading the strokes"
    job.progress(0.0, doing)
    found = volume.update(
        _on_grid(request, volume.image),
        box_of(request.roi),
        model,
        Watch(lambda fraction: job.progress(fraction, doing), job.cancelled),
    )
    i, j, k = (part.start for part in found.box)
    places = [volume.image.affine @ [*place, 1] for place in found.unsure]
    return StrokesAnswer(
        labels=np.ascontiguousarray(found.labels.transpose()),
        sure=np.ascontiguousarray(found.sure.transpose()),
        start=(i, j, k),
        method=found.method,
        strokes=found.strokes,
        seconds=found.seconds,
        model=found.model.name if found.model else "",
        unsure=tuple((float(x), float(y), float(z)) for x, y, z, _ in places),
        teachable=found.teachable,
        share=found.share,
        warnings=found.warnings,
    )


def keep(engine: Engine, job: Job[StrokesKeepRequest]) -> StrokesKept:
    """Write an adapter of what the strokes have taught."""
    session, output = _session(engine, job.request.session), Path(job.request.output)
    if session.model is None:
        raise LLMBoostError("no model knows what is painted: there is nothing to keep")
    card, warnings = session.volume.keep(session.model, output)
    return StrokesKept(str(output), card, warnings)


def close(engine: Engine, job: Job[StrokesCloseRequest]) -> Done:
    """Forget the image."""
    if engine.stroked and engine.stroked.number == job.request.session:
        engine.stroked = None
    return Done()


def _session(engine: Engine, number: int) -> StrokesSession:
    if engine.stroked is None or engine.stroked.number != number:
        text = "the worker no longer has the volume that was painted in"
        raise RequestError(ErrorKind.NOT_AVAILABLE, text, "Open it again; no stroke is lost")
    return engine.stroked


def _on_grid(request: StrokesUpdateRequest, image: Image) -> np.ndarray:
    """The strokes [i, j, k] on all of the image's grid."""
    part, start = request.strokes, request.start
    if part.ndim != 3 or part.dtype != np.uint16:
        raise LLMBoostError("the request's strokes cannot be used (they are no 16-bit label map with 3 axes)")
    part = part.transpose()
    ends = [first + size for first, size in zip(start, part.shape, strict=True)]
    if min(start) < 0 or any(end > size for end, size in zip(ends, image.shape, strict=True)):
        raise LLMBoostError("the strokes lie outside the volume")
    if part.shape == image.shape:
        return part
    whole = np.zeros(image.shape, np.uint16)
    whole[tuple(slice(first, end) for first, end in zip(start, ends, strict=True))] = part
    return whole
