"""A progress bar and a status line that never stand still while something goes on."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from qt import QTimer
from slicer.i18n import tr as _

from llmboost.messages.worker import Progress

from .speed import duration

TICK_MS = 1000
KNOWN_FROM = 0.03  # of the whole, from which on the pace tells what is left


class Pace:
    """How many seconds are left of a run, by its pace so far, else by what was expected."""

    def __init__(self) -> None:
        self.start(None)

    def start(self, expected: float | None) -> None:
        """It begins, and is expected to take so many seconds."""
        self._started = time.monotonic()
        self._end = None if expected is None else self._started + expected
        self._first: tuple[float, float] | None = None  # when a part was told to be done first, and which

    def tell(self, fraction: float | None) -> None:
        """So much is done."""
        if fraction is None:
            return
        now = time.monotonic()
        since, begun = self._first = self._first or (now, fraction)
        if fraction - begun > KNOWN_FROM:
            self._end = now + (now - since) * (1 - fraction) / (fraction - begun)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started

    @property
    def left(self) -> float | None:
        """Seconds; None: nobody knows."""
        left = None if self._end is None else self._end - time.monotonic()
        return left if left is not None and left > 0 else None


class ProgressView:
    """Shows a run: what goes on, for how long, and the memory that it takes.

    Args:
        bar: a QProgressBar, visible only during a run.
        label: a QLabel.
    """

    def __init__(self, bar: Any, label: Any) -> None:
        self._bar, self._label = bar, label
        self._pace, self._progress = Pace(), Progress(None, "")
        self._timer = QTimer()
        self._timer.setInterval(TICK_MS)
        self._timer.connect("timeout()", self._show)
        self._bar.visible = False

    def start(self, text: str, expected: float | None = None) -> None:
        """A run begins, which is expected to take so many seconds."""
        self._pace.start(expected)
        self._bar.visible = True
        self._label.setStyleSheet("")
        self.tell(Progress(None, text))
        self._timer.start()

    def tell(self, progress: Progress) -> None:
        self._progress = progress
        self._pace.tell(progress.fraction)
        self._show()

    def say(self, text: str) -> None:
        """Other words for what goes on."""
        self.tell(replace(self._progress, text=text))

    def stop(self, text: str, style: str = "") -> None:
        """End of the run; ``text`` stays, in this style."""
        self._timer.stop()
        self._bar.visible = False
        self._label.text = text
        self._label.setStyleSheet(style)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return self._pace.seconds

    def _show(self) -> None:
        fraction = self._progress.fraction
        self._bar.maximum = 0 if fraction is None else 100  # 0: it only shows that something moves
        self._bar.value = 0 if fraction is None else int(100 * fraction)
        parts = [self._progress.text, duration(self.seconds)]
        if (left := self._pace.left) is not None:
            parts.append(_("about {time} left").format(time=duration(left)))
        if self._progress.memory:
            parts.append(_("about {size:.1f} GB of memory").format(size=max(0.1, self._progress.memory / 1e9)))
        self._label.text = " · ".join(filter(None, parts))
