"""Explaining one case: a map in [0, 1] on the very grid of its first channel."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..card import CLASSIFICATION, Card, Label
from ..errors import LLMBoostError
from ..inference.roi import Roi
from ..io.image import Image
from ..model import Model
from .classes import explain_class
from .maps import LAYERS, METHODS
from .segments import explain_segment


@dataclass(frozen=True)
class Explanation:
    """Where a network looked.

    Attributes:
        map: float32 [i, j, k] in [0, 1] on the grid of the first channel; 1 where it looked most, 0 where it did not,
            or where nothing was computed.
        target: the class, or the segment's label, that is explained.
        warnings: what a user should know before believing the map.
        localizer: the card of the model that told where to look, if a cascade was needed.
    """

    map: Image
    target: Label
    method: str
    layer: str
    seconds: float
    warnings: tuple[str, ...] = ()
    localizer: Card | None = None


def explain(
    model: Model,
    channels: Sequence[Image],
    *,
    target: int | None = None,
    method: str = "grad-cam",
    layer: str = "after",
    reference: Image | None = None,
    roi: Roi | None = None,
    slice_number: int | None = None,
    modality: str = "",
    anyway: bool = False,
    progress: Callable[[float], None] = lambda fraction: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Explanation:
    """Explain what a model says of a case: a class of a classifier by its log-odds, a segment by its mean logit.

    Args:
        model: of either task.
        channels: as for :func:`..segment.segment` or :func:`..classify.classify`, which the computation follows.
        target: value of the class, or of the label as it is drawn; by default the class that the model decides for, or
            the first label.
        method, layer: of ``METHODS``, and of ``LAYERS`` around the booster.
        reference: what counts as the segment, where it is not zero; by default, what the model draws.
        roi: limits what the model sees; the map is 0 elsewhere.
        slice_number: of a 2D classifier, the one slice to explain; by default all.
        modality: of the images, in DICOM's terms, where it is known.
        anyway: of a classifier, explain an image of another kind than it knows, too.
        progress: called with the fraction done.
        cancelled: asked before each patch.

    Raises:
        LLMBoostError: no such target, method or layer, or the model cannot take the images or does not know their
            kind.
        Cancelled: ``cancelled`` answered True.
    """
    started = time.monotonic()
    check_choice(method, layer)
    if model.card.task == CLASSIFICATION:
        array, label, notes = explain_class(
            model, channels, target, method, layer, roi, slice_number, modality, anyway, progress, cancelled
        )
        localizer = None
    else:
        array, label, notes, localizer = explain_segment(
            model, channels, target, method, layer, reference, roi, modality, progress, cancelled
        )
    highest = float(array.max())
    if highest > 0:
        array /= highest
    elif not notes:
        notes = [f"the map is empty: at this layer, nothing speaks for {label.name}; choose the other one"]
    return Explanation(
        map=channels[0].with_array(np.clip(array, 0, 1, out=array)),
        target=label,
        method=method,
        layer=layer,
        seconds=time.monotonic() - started,
        warnings=tuple(notes),
        localizer=localizer,
    )


def check_choice(method: str, layer: str) -> None:
    """Raises LLMBoostError unless there are such a method and layer."""
    for kind, value, known in (("method", method, tuple(METHODS)), ("layer", layer, LAYERS)):
        if value not in known:
            raise LLMBoostError(f"{kind} '{value}' of explanation is unknown; use one of {', '.join(known)}")
