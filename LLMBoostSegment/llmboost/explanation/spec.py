"""What can be asked of a model's answer, and what is told."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..card import Card, Label
from ..errors import LLMBoostError
from ..io.image import Image
from .maps import LAYERS, METHODS


@dataclass(frozen=True)
class ExplanationSpec:
    """What to explain, and how.

    Attributes:
        target: value of the class, or of the label as it is drawn; None: the class that the model decides for, or the
            first label.
        method, layer: of ``METHODS``, and of ``LAYERS`` around the booster.

    Raises:
        LLMBoostError: there is no such method or layer.
    """

    target: int | None = None
    method: str = next(iter(METHODS))
    layer: str = LAYERS[0]

    def __post_init__(self) -> None:
        for kind, value, known in (("method", self.method, tuple(METHODS)), ("layer", self.layer, LAYERS)):
            if value not in known:
                raise LLMBoostError(f"{kind} '{value}' of explanation is unknown; use one of {', '.join(known)}")

    def find(self, card: Card, labels: Sequence[Label]) -> tuple[Label, int]:
        """The label or class that is to be explained, by default the first one, and its number among ``labels``.

        Raises:
            LLMBoostError: there is none of that value.
        """
        for number, label in enumerate(labels):
            if self.target in (None, label.value):
                return label, number
        known = ", ".join(f"{label.value} ({label.name})" for label in labels)
        raise LLMBoostError(f"model '{card.name}' has nothing of value {self.target} to explain; choose one of {known}")


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


def scaled(
    heat: Image,
    target: Label,
    spec: ExplanationSpec,
    started: float,
    notes: Sequence[str] = (),
    localizer: Card | None = None,
) -> Explanation:
    """The explanation that a map, not negative, makes; the map is scaled in place.

    Args:
        started: when, by ``time.monotonic``.
    """
    array = heat.array
    highest = float(array.max())
    if highest > 0:
        array /= highest
    elif not notes:
        notes = [f"the map is empty: at this layer, nothing speaks for {target.name}; choose the other one"]
    np.clip(array, 0, 1, out=array)
    return Explanation(heat, target, spec.method, spec.layer, time.monotonic() - started, tuple(notes), localizer)
