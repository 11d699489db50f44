"""How long a model will take on this machine, by what earlier runs took."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from math import prod

from qt import QSettings

from llmboost import library
from llmboost.card import Card, read_card
from llmboost.card.tiles import patch_count
from llmboost.errors import LLMBoostError

_SETTING = "LLMBoost/Seconds/{digest}/{device}/{way}"
_CROP, _CASCADE = "crop", "cascade"  # networks of their own, and other amounts to send: each is remembered for itself


def remember(card: Card, device: str, extentMm: Sequence[float], seconds: float, beside: float = 0.0) -> None:
    """Keep what a run took on an image (or ROI) of this extent along the axes that the model goes by.

    Args:
        seconds: that the engine took.
        beside: what sending the image and making nodes took; 0 where that is not known.
    """
    way = _way(card, extentMm)
    known = _known(card, device, way)
    beside = beside or (known[1] if known else 0.0)
    QSettings().setValue(_key(card, device, way), f"{seconds / _voxels(card, extentMm)!r} {beside!r}")


def rememberPatch(card: Card, device: str, seconds: float) -> None:
    """Keep what one patch takes, by the worker's word, until a run tells it better."""
    QSettings().setValue(_key(card, device, _CROP), f"{seconds / prod(card.preprocessing.patch_size)!r} 0.0")


def expected(card: Card, device: str, extentMm: Sequence[float]) -> float | None:
    """Seconds until the result is there, by the last run on this machine; None: there was none.

    After runs on crops alone, a cascade's time is what its networks have to look at, at the same pace.
    """
    way = _way(card, extentMm)
    known = _known(card, device, way) or _known(card, device, _CROP)
    if known is None:
        return None
    rate, beside = known
    return rate * _voxels(card, extentMm) + beside


def duration(seconds: float) -> str:
    """Time as people say it: "2 s", "1 min 05 s"."""
    if round(seconds) < 60:
        return f"{max(1, round(seconds))} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def _key(card: Card, device: str, way: str) -> str:
    return _SETTING.format(digest=card.digest[:16], device=device, way=way)


def _known(card: Card, device: str, way: str) -> tuple[float, float] | None:
    """Seconds a voxel, and beside that."""
    try:
        rate, beside = map(float, str(QSettings().value(_key(card, device, way)) or "").split())
    except ValueError:
        return None
    return rate, beside


def _way(card: Card, extentMm: Sequence[float]) -> str:
    return _CASCADE if card.needs_cascade(extentMm) else _CROP


def _voxels(card: Card, extentMm: Sequence[float]) -> float:
    """What has to be computed: the voxels of all windows, of a cascade those of its localizer and of each crop."""
    if not card.needs_cascade(extentMm):
        return _windows(card, extentMm)
    assert card.cascade is not None
    crops = sum(
        float(prod(card.preprocessing.patch_size)) if target.structure else _windows(card, extentMm)
        for target in card.cascade.targets
    )
    with suppress(LLMBoostError):  # it may lie on the worker's machine alone
        return crops + _windows(read_card(library.find(card.cascade.localizer)), extentMm)
    return crops


def _windows(card: Card, extentMm: Sequence[float]) -> float:
    """The voxels of the patches that cover an image."""
    return float(patch_count(card, extentMm) * prod(card.preprocessing.patch_size))


class Clock:
    """Tells how long the next run will take, by this one.

    Args:
        extentMm: of the image along the axes that the model goes by.
        count: of images, one after the other.
        isWarm: the worker runs already; else its start counts for nothing that the next run takes.
    """

    def __init__(self, card: Card, device: str, extentMm: Sequence[float], count: int, isWarm: bool) -> None:
        self._what, self._count, self._isWarm = (card, device, extentMm), count, isWarm
        self._started = time.monotonic()

    def stop(self, seconds: float) -> None:
        """The result is there, for which the engine took so many seconds."""
        beside = max(time.monotonic() - self._started - seconds, 0.0) if self._isWarm else 0.0
        remember(*self._what, seconds / self._count, beside / self._count)
