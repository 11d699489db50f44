"""Whoever waits for a result: is told how far it is, and may cancel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..errors import Cancelled


@dataclass(frozen=True)
class Watch:
    """How a computation keeps in touch with whoever waits for it.

    Attributes:
        progress: called with the fraction done.
        cancelled: asked before each batch that the network computes.
        notice: told, in words for the user, what comes otherwise than expected.
    """

    progress: Callable[[float], None] = lambda fraction: None
    cancelled: Callable[[], bool] = lambda: False
    notice: Callable[[str], None] = lambda text: None

    def part(self, start: float, end: float) -> Watch:
        """The watch over what leads from one fraction of the whole to another."""
        return replace(self, progress=lambda done: self.progress(start * (1 - done) + end * done))

    def go_on(self) -> None:
        """Raises Cancelled if nobody waits any more."""
        if self.cancelled():
            raise Cancelled


UNWATCHED = Watch()
