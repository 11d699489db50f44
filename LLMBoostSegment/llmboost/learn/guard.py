"""Notices that a training diverges."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

MOST_SETBACKS = 2
SOON = 0.2  # of the budget, after which the loss should be lower than at the start
WINDOW = 20  # losses at either end
SURE = 3.0  # standard errors: a network that knows something already is as good as before at first, give or take


@dataclass
class Guard:
    """Compares the loss after a fifth of the budget with that of the start.

    Attributes:
        setbacks: how often training went back.
        since: the share of the budget that was spent when the losses' start was.
        passed: whether the loss was found to be lower; from then on, only its being a number counts.
        first, last: losses of the first and the last steps.
    """

    setbacks: int = 0
    since: float = 0.0
    passed: bool = False
    first: list[float] = field(default_factory=list)
    last: list[float] = field(default_factory=list)

    @property
    def factor(self) -> float:
        """Of the learning rate."""
        return 0.5**self.setbacks

    def trouble(self, loss: float, fraction: float) -> str:
        """What is wrong after a step with that ``loss``, in words; empty if nothing is.

        Args:
            fraction: of the budget that is spent.
        """
        if not math.isfinite(loss):
            return "the loss is not a number"
        if self.passed:
            return ""
        if len(self.first) < WINDOW:
            self.first.append(loss)
            return ""
        self.last = [*self.last, loss][-WINDOW:]
        if fraction - self.since < SOON or len(self.last) < WINDOW:
            return ""
        before, now = float(np.mean(self.first)), float(np.mean(self.last))
        error = math.sqrt((np.var(self.first) + np.var(self.last)) / (WINDOW - 1))
        self.passed = now - before <= SURE * error or self.setbacks == MOST_SETBACKS
        return "" if self.passed else f"the loss rose from {before:.3g} to {now:.3g}"

    def set_back(self, fraction: float) -> None:
        """Training goes on from an earlier state when ``fraction`` of the budget is spent."""
        self.setbacks += 1
        self.since, self.first, self.last = fraction, [], []


def is_guard(table: Any) -> bool:
    """Whether that is a :class:`Guard` in JSON's types."""
    if not isinstance(table, dict) or table.keys() != set(Guard.__dataclass_fields__):
        return False
    losses = table["first"], table["last"]
    numbers = [table["since"], *(losses[0] if isinstance(losses[0], list) else [None])]
    numbers += losses[1] if isinstance(losses[1], list) else [None]
    return (
        type(table["setbacks"]) is int
        and 0 <= table["setbacks"] <= MOST_SETBACKS
        and type(table["passed"]) is bool
        and all(type(number) in (int, float) for number in numbers)
    )
