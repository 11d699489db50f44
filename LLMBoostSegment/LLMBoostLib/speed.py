"""How long a model will take on this machine, by what earlier runs took."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from qt import QSettings

from llmboost.card import Card

from .fit import windowMm

_SETTING = "LLMBoost/SecondsPerMl/{digest}/{device}"


def remember(card: Card, device: str, extentMm: Sequence[float], seconds: float) -> None:
    """Keep what a run took on an image (or ROI) of this extent along R, A and S."""
    QSettings().setValue(_key(card, device), repr(seconds / _milliliters(card, extentMm)))


def expected(card: Card, device: str, extentMm: Sequence[float]) -> float | None:
    """Seconds that the engine will need, by the last run on this machine; None: there was none."""
    try:
        rate = float(QSettings().value(_key(card, device)))
    except (TypeError, ValueError):
        return None
    return rate * _milliliters(card, extentMm)


def duration(seconds: float) -> str:
    """Time as people say it: "2 s", "1 min 05 s"."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def _key(card: Card, device: str) -> str:
    return _SETTING.format(digest=card.digest[:16], device=device)


def _milliliters(card: Card, extentMm: Sequence[float]) -> float:
    """What has to be computed: an image that is smaller than the model's window costs as much as the window."""
    return float(np.prod(np.maximum(extentMm, windowMm(card))) / 1000)
