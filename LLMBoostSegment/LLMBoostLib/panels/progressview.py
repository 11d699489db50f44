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


class ProgressView:
    """Shows a run: what goes on, for how long, and the memory that it takes.

    Args:
        bar: a QProgressBar, visible only during a run.
        label: a QLabel.
    """

    def __init__(self, bar: Any, label: Any) -> None:
        self._bar, self._label = bar, label
        self._started, self._progress = 0.0, Progress(None, "")
        self._timer = QTimer()
        self._timer.setInterval(TICK_MS)
        self._timer.connect("timeout()", self._show)
        self._bar.visible = False

    def start(self, text: str) -> None:
        self._started = time.monotonic()
        self._bar.visible = True
        self._label.setStyleSheet("")
        self.tell(Progress(None, text))
        self._timer.start()

    def tell(self, progress: Progress) -> None:
        self._progress = progress
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
        return time.monotonic() - self._started

    def _show(self) -> None:
        fraction = self._progress.fraction
        self._bar.maximum = 0 if fraction is None else 100  # 0: it only shows that something moves
        self._bar.value = 0 if fraction is None else int(100 * fraction)
        parts = [self._progress.text, duration(self.seconds)]
        if self._progress.memory:
            parts.append(_("about {size:.1f} GB of memory").format(size=max(0.1, self._progress.memory / 1e9)))
        self._label.text = " · ".join(filter(None, parts))
