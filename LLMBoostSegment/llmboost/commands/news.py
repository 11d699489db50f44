"""What `train` and `adapt` tell while they go on: the plan, each validation, and every few seconds how far they are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..card.figures import worst_first
from ..files import printable
from .terminal import console, messages, progress_bar

SECONDS = 5.0  # from one line to the next
SHARE = 0.01  # of what has passed: lines of a training of hours are read later, not watched
MOST_SECONDS = 60.0
LABELS, CASES = 7, 16  # at most in a line; of the labels, the worst ones
Tell = Callable[[dict[str, Any]], None]


def interval(elapsed: float) -> float:
    """Seconds from a line of progress to the next one, so many seconds after the start."""
    return min(max(SECONDS, SHARE * elapsed), MOST_SECONDS)


class News:
    """What a training has told so far. Times are seconds since the start.

    Args:
        total: seconds that all of it may take, where the budget is of all; else what is left is told by the pace.
    """

    def __init__(self, total: float | None = None) -> None:
        self.total = total
        self.doing = "preparing"
        self.fraction = 0.0
        self._names: Mapping[int, str] = {}
        self._figure = self._fold = ""
        self._step: int | None = None
        self._losses: list[float] = []
        self._loss = ""
        self._start: tuple[float, float] | None = None  # time and fraction at the first step
        self._told = 0.0

    def hear(self, event: Mapping[str, Any], now: float) -> list[str]:
        """Take a trainer's event; what is to be told of it at once, line by line."""
        fold = event.get("fold", "")
        if fold != self._fold:
            self._fold, self._figure = fold, ""
        match event["event"]:
            case "plan":
                self._names = event.get("labels", {})
                held = listed(event.get("held_out", ()))
                return [f"  {line}" for line in (*event["reasons"], *([f"held out: {held}"] if held else []))]
            case "setback" | "end":
                return [event["text"]]
            case "stage":
                self.doing = event["text"]
            case "report":
                return [event["text"]]
            case "step":
                self.doing, self._step, self.fraction = "", event["step"], event["fraction"]
                self._losses.append(event["loss"])
                self._start = self._start or (now, self.fraction)
            case "validation":
                measure = "AUC" if "auc" in event else "Dice"
                value, best = event[measure.lower()], event["best"]
                line = f"step {event['step']}: val {measure} {value:.4f}"
                self._figure = f"{measure} {value:.3f}"
                if best is not None:  # else the last weights are kept
                    line, self._figure = f"{line} (best {best:.4f})", f"best {measure} {best:.3f}"
                labels = by_name(self._names, event["labels"]) if event["labels"] else {}
                return [f"{line}: {', '.join(worst_first(labels, LABELS))}" if len(labels) > 1 else line]
        return []

    def share(self, now: float) -> float:
        """Of the budget that is spent."""
        return min(now / self.total, 1.0) if self.total else self.fraction

    def due(self, now: float) -> bool:
        """Whether it is time for a line of progress."""
        return now - self._told >= interval(now)

    def line(self, now: float) -> str:
        """How far it is, such as "12 %, 2:38 left, step 104, loss 0.412, best Dice 0.713"; the loss is the mean of the
        steps since the line before."""
        losses, self._losses, self._told = self._losses, [], now
        if losses:
            self._loss = f"loss {sum(losses) / len(losses):.3f}"
        left = self._left(now)
        parts = [f"{100 * self.share(now):.0f} %", left and f"{left} left"]
        parts += [
            self._fold and f"fold {self._fold}",
            self.doing,
            "" if self._step is None else f"step {self._step}",
            self._loss,
            self._figure,
        ]
        return ", ".join(filter(None, parts))

    def _left(self, now: float) -> str:
        if self.total:
            return _clock(max(self.total - now, 0))
        started, spent = self._start or (now, 0.0)
        if now - started < 1 or self.fraction <= spent:
            return ""
        return _clock((now - started) * (1 - self.fraction) / (self.fraction - spent))


def listed(ids: Iterable[str]) -> str:
    """Cases by their ids, the first ones at least."""
    names = [printable(id) for id in ids]
    more = [f"{len(names) - CASES} more"] if len(names) > CASES else []
    return ", ".join([*names[:CASES], *more])


def by_name(names: Mapping[int, str], labels: Mapping[str, float | None]) -> dict[str, float | None]:
    """Figures of labels by name in place of value; None for a label without one."""
    return {printable(name): labels.get(str(value)) for value, name in names.items()}


def _clock(seconds: float) -> str:
    hours, minutes = divmod(int(seconds / 60), 60)
    rest = int(seconds) % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@contextmanager
def training_news(total: float | None = None, started: float | None = None) -> Iterator[Tell]:
    """Tell in the terminal what a trainer reports to what this gives: a bar that moves, or where output goes to a file
    or through a pipe, a line every few seconds, also while a long validation reports nothing.

    Args:
        total: see :class:`News`.
        started: when, by ``time.monotonic``; by default now.
    """
    news, ended = News(total), threading.Event()
    started = time.monotonic() if started is None else started
    watched = console.is_terminal and messages.is_terminal

    def keep_telling() -> None:
        while not ended.wait(0.5):
            now = time.monotonic() - started
            if news.due(now):
                console.print(news.line(now), highlight=False)

    with progress_bar() as progress:
        task = progress.add_task(news.doing, total=1.0)

        def tell(event: dict[str, Any]) -> None:
            now = time.monotonic() - started
            for line in news.hear(event, now):
                console.print(line)
            if event["event"] in ("step", "stage"):
                doing = news.doing or f"step {event['step']}, loss {event['loss']:.3f}"
                progress.update(task, completed=news.share(now), description=doing)

        teller = threading.Thread(target=keep_telling, daemon=True)
        if not watched:
            teller.start()
        try:
            yield tell
        finally:
            ended.set()
            if not watched:
                teller.join()
